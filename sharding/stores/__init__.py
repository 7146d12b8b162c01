"""Where the bytes of a set are read from: a folder, or a URL with retries and a cache that all jobs of a node share.

`store` is the interface: named objects, read whole or by byte ranges; everything below implements or wraps it.

    address -> opening -+-> local                                       a folder
                        +-> [ cached -> ] retry -> remote -> client     s3://, gs://, az://, http(s)://

An `address` is a folder or a URL; `opening` builds the chain for it. `local` reads files. For a URL, `credentials`
finds the login, `client` opens obstore with it, and `remote` sends one request per merged range (`ranges`). `failure`
classifies a failed request; `retry` repeats it if that is transient, after a pause that `retry_after` asks the server
for. With a cache, `cached` looks into `node_cache` first, whose disk usage `cache_usage` counts.
"""
