"""Files of options, and addresses of sets and endpoints."""

from pathlib import Path
from typing import Any

from tests.hostile import web
from tests.hostile.case import Case, anything
from tests.hostile.worlds import World

YAML: dict[str, bytes] = {
    "a tag that calls": b"where: !!python/object/apply:os.system ['touch canary']", "a tag that makes": b"!!python/object/new:os.system {args: ['touch canary']}",
    "a module": b"where: !!python/module:os", "a name": b"where: !!python/name:os.system", "a tag of its own": b"samples: !x 1",
    "a billion laughs": b"a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b]\nwhere: *c",
    "a circle": b"samples: &a [*a]", "a merge": b"<<: {samples: 1}", "brackets": b"[" * 100_000, "indents": b"".join(b" " * n + b"a:\n" for n in range(1500)),
    "two documents": b"samples: 1\n---\nsamples: 2\n", "a list": b"- samples\n", "text": b"samples", "a number": b"5", "binary": bytes(range(256)), "UTF-16": "samples: 1".encode("utf-16"),
    "no UTF-8": b"where: '\xff\xfe'", "a tab": b"samples:\t\t1\n\tx: 2", "20 MB": b"# " + b"x" * 20_000_000, "an option twice": b"samples: 1\nsamples: 2", "an unknown option": b"sample: 1",
    "a number of 5,000 digits": b"samples: " + b"9" * 5000, "a base of sixty": b"samples: 1:30:20", "a date": b"samples: 2001-01-01", "a fraction": b"samples: 1.5", "true": b"samples: yes",
    "infinity": b"samples: .inf", "not a number": b"samples: .nan", "a nested value": b"samples: {a: 1}", "a null": b"samples: ~", "controls": b'where: "\\e[2J"', "code as a query": b"where: \"@io.open('canary','w')\"",
    "a key that is no text": b"1: 2", "a key of a list": b"? [a]\n: 1", "an underscore": b"samples: 1_0", "hexadecimal": b"samples: 0x10", "another command": b"epochs: 3", "a directive": b"%YAML 9.9\n---\nsamples: 1",
}  # fmt: skip
MAY = ("two documents",)
ADDRESSES = (
    "", " ", "http://", "http:///x", "https://[bad/x", "http://[::1", "http://h:port/x", "http://h:99999/x", "http://h:-1/x", "http://user:SECRET\u2100@h/x",
    "http://user:SECRET@127.0.0.1:1/x", "{web}/x?token=SECRET", "http://no-such-host.invalid/x", "http://a b/x", "{web}/a b", "http://\x1b[2J/x",
    "{web}/\x1b[2J", "ftp://h/x", "file:///nowhere", "file://host/x", "file:", "s3://", "s3:///x", "s3:/b/x", "s3://b", "s3://B_B/x", "s3://b/../x", "s3://b/\x1b[2J", "s3://user:SECRET@b/x",
    "gs://", "az://", "az://b/x", "javascript:alert(1)", "data:,x", "x://y", "://x", "http:x", "HTTP://[", "/dev/zero", "/dev/null", "/proc/self/mem", "/", ".", "..", "~", "~nobody/x",
    "a\nb", "\udcff", "x" * 300, "x/" * 3000, "-", "--", "-x", "http://127.0.0.1:1/" + "x" * 100_000, "{web}/%", "{web}/%zz", "{web}/%00", "http://ⓔxample.invalid/x",
    "http://0x7f.1:1/", "{web}#SECRET", "http://SECRET@y@z/x", "s3://b/x?SECRET=1", "https://127.0.0.1:1/SECRET@",
)  # fmt: skip
ENDPOINTS = ("localhost:9000", "127.0.0.1:1", "", " ", "http://", "http://[bad", "ftp://127.0.0.1:1", "http://127.0.0.1:1", "http://127.0.0.1:99999", "http://user:SECRET@127.0.0.1:1", "http://no-such-host.invalid",
             "\x1b[2J", "http://a b", "//", "file:///etc", "http://127.0.0.1:1/?token=SECRET")  # fmt: skip
NAMES = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")
OTHERS = {"AWS_REGION": "\x1b[2J", "AWS_ALLOW_HTTP": "maybe", "AWS_PROFILE": "nobody", "AWS_CONFIG_FILE": "/dev/zero", "AWS_SHARED_CREDENTIALS_FILE": "/proc/self/mem", "AWS_CA_BUNDLE": "/nowhere",
          "HTTPS_PROXY": "127.0.0.1:1", "HTTP_PROXY": "http://[bad", "DEPTHSTREAM_LIMITS": "much", "AWS_DEFAULT_REGION": "", "AWS_SESSION_TOKEN": "\x00"[:0], "SSL_CERT_FILE": "/nowhere"}  # fmt: skip


def yaml(data: bytes) -> Any:
    """Build a file of options."""

    def build(folder: Path, world: World) -> list[str]:
        (folder / "q.yaml").write_bytes(data)
        return ["inspect", str(world.diode_set), "--config", "q.yaml"]

    return build


def address(text: str, *words: str) -> Any:
    """Name a set."""
    return lambda folder, world: [*(words or ("inspect",)), text.replace("{web}", world.web.address)]


def served(answer: web.Answer) -> Any:
    """Build nothing: the set is on the web."""
    return lambda folder, world: ["verify", world.web.serve(f"/{folder.parent.name}", answer)]


def set_on_the_web(zipped: bool) -> Any:
    """Serve the set."""

    def build(folder: Path, world: World) -> list[str]:
        files = {
            path.relative_to(world.diode_set).as_posix(): path.read_bytes()
            for path in world.diode_set.rglob("*")
            if path.is_file()
        }
        return ["verify", world.web.serve(f"/{folder.parent.name}", web.sends_folder(files, zipped))]

    return build


CASES = [
    *(Case(f"YAML/{name}", yaml(data), anything if name in MAY else None) for name, data in YAML.items()),
    *(Case(f"addresses/{number} {text[:24]!r}", address(text)) for number, text in enumerate(ADDRESSES)),
    *(Case(f"addresses/source {number} {text[:24]!r}", address(text, "shard", "diode", "--split", "val", "--", "made")) for number, text in enumerate(ADDRESSES[:30]) if text != "s3://b"),
    *(Case(f"addresses/endpoint {number} {text[:24]!r} in {name}", address("s3://b/x"), environment=((name, text),)) for name in NAMES for number, text in enumerate(ENDPOINTS) if text.strip()),
    *(Case(f"addresses/{name}={value[:16]!r}", address("s3://b/x"), environment=((name, value), ("AWS_ENDPOINT_URL", "{web}"))) for name, value in OTHERS.items()),
    Case("addresses/a set on the web", set_on_the_web(False), anything),
    Case("addresses/a gzipped set on the web", set_on_the_web(True), anything),
    *(Case(f"addresses/a server that answers {label}", served(answer)) for label, answer in {
        "a page": web.sends_file(b"<html>Sign in\x1b[2J</html>"), "403": web.sends(403, {"Content-Length": "0"}, reason="No\x1b[2J"), "407": web.sends(407, {"Content-Length": "0", "Proxy-Authenticate": "Basic"}),
        "a length of abc": web.sends(200, {"Content-Length": "abc"}), "no HTTP": web.sends_raw(b"SSH-2.0-x\r\n"), "a circle": lambda request: web.redirects(request.path)(request),
        "a file": web.redirects("file:///etc/passwd"), "200 MB": web.sends(200, {"Content-Length": str(200 << 20)}, b"{" * (200 << 20)), "1 MB of header": web.sends(200, {"X": "y" * 1_000_000}),
    }.items()),
]  # fmt: skip
