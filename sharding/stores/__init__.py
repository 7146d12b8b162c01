"""Where the bytes of a set are read from: a folder, or a URL with retries and a cache that all jobs of a node share.

`store` is the interface: named objects, read whole or by byte ranges; everything below implements or wraps it.

    address -> opening -+-> local                                       a folder
                        +-> [ cached -> ] retry -> remote -> client     s3://, gs://, az://, http(s)://

`address` distinguishes a URL from a folder, and checks it; `sharding.hiding` shows it without its login. `opening`
builds the chain for it. `local` reads files. For a URL, `credentials` checks the variables and finds the login,
`client` opens obstore with it, and `remote` sends one request per merged range (`ranges`). `failure` classifies a
failed request; `retry` repeats it if that is transient, after growing random pauses, or longer ones if a throttling
server asks for them (`retry_after`). With a cache, `cached` looks into `node_cache` first, which evicts sets that are
no longer used; `cache_usage` counts its bytes under a lock.

`making.remote_target` writes sets with the same client, failures and retries, and holds a `lease` meanwhile.
"""
