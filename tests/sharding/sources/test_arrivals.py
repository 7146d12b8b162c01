import pytest

from sharding.archives.archive import open_archive
from sharding.archives.byte_source import LocalFile
from sharding.archives.fingerprint import take_fingerprint
from sharding.sources.arrivals import Arrivals, Boundary
from sharding.sources.joiner import Joined, Joiner
from sharding.sources.megadepth import layout
from sharding.sources.resume_point import same_place
from sharding.sources.spool import Spool
from tests.sharding.toy_archives import pack, shrink, shuffled

SHARD_BYTES = 2500


def tree(count):
    """Pairs of MegaDepth, and files of no use, in a disorder."""
    names = [f"a/0001/dense0/imgs/{i}.jpg" for i in range(count)]
    names += [f"a/0001/dense0/depths/{i}.h5" for i in range(count)]
    names += [f"a/0001/dense0/depths/._{i}.h5" for i in range(5)]
    return shuffled([(name, name.encode() * 15) for name in names], count)


class Read:
    """All that arrives from a position on. What waits is kept in `folder`."""

    def __init__(self, path, folder, position=None, finished=()):
        source = LocalFile(path)
        fingerprint = take_fingerprint(source, str(path))
        joiner = Joiner(layout(True).parse, layout(True).needed, Spool(1000, folder))
        if position:
            assert joiner.restore(position.waiting, finished)
        with open_archive(source, position.enter if position else 0, threads=1) as archive:
            events = list(Arrivals(archive, joiner, layout(True), position).cut(SHARD_BYTES, fingerprint))
        self.boundaries = [event.point for event in events if isinstance(event, Boundary)]
        shard: list[str] = []
        self.shards = [shard]
        for event in events:
            if isinstance(event, Joined):
                shard.append(event.candidate.key)
            elif event is not None:
                self.shards.append(shard := [])
        self.payloads = {event.candidate.key: event.payloads for event in events if isinstance(event, Joined)}
        joiner.close()
        source.close()


@pytest.mark.parametrize("span", [2000, 6000, 1 << 30])
@pytest.mark.parametrize("held", [0, 1500, 1 << 30])
def test_from_any_boundary_on_the_same_arrives(tmp_path, monkeypatch, span, held):
    shrink(monkeypatch, SPAN_BYTES=span)
    monkeypatch.setattr("sharding.sources.arrivals.HELD_BYTES", held)
    path = pack(tmp_path / "x.tar", tree(25))
    monkeypatch.setattr(Spool, "_release", lambda self, segment: None)  # what is taken stays on disk
    whole = Read(path, tmp_path / "waiting")
    assert len(whole.payloads) == 25
    assert all(payloads["image"] == f"a/0001/dense0/imgs/{key.rpartition('_')[2]}.jpg".encode() * 15
               for key, payloads in whole.payloads.items())  # fmt: skip
    for number, position in enumerate(whole.boundaries[:-1], 1):
        assert position.offset - position.enter <= held
        finished = [key for shard in whole.shards[:number] for key in shard]
        rest = Read(path, tmp_path / "waiting", position, finished)
        assert rest.shards == whole.shards[number:]
        assert rest.boundaries[-1] == whole.boundaries[-1]
        assert [one.offset for one in rest.boundaries] == [one.offset for one in whole.boundaries[number:]]
        assert all(whole.payloads[key] == payloads for key, payloads in rest.payloads.items())
    last = whole.boundaries[-1]
    assert (last.ended, last.members, last.skipped) == (True, 55, {"AppleDouble file": 5})
    assert last.shard == len([shard for shard in whole.shards if shard])


def test_a_place_is_known_again_in_a_file_that_has_grown_but_not_in_another(tmp_path):
    path = pack(tmp_path / "x.tar", tree(25))
    data = path.read_bytes()
    position = Read(path, tmp_path / "waiting").boundaries[1]
    for content, same in (
        (data[: position.used], True),
        (data + b"more", True),
        (data[: position.used - 1], False),
        (data[: position.used - 1] + b"x" + data[position.used :], False),
    ):
        path.write_bytes(content)
        source = LocalFile(path)
        assert same_place(position, take_fingerprint(source, str(path))) == same
        source.close()
