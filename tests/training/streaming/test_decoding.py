"""Streams are decoded by our decoders alone: nothing in a shard is unpickled, whatever its members are called."""

import contextlib
import gzip
import io
import os
import pickle

import pytest
import torch
import webdataset
from webdataset import autodecode

from sharding.errors import DataError
from training.streaming.pipeline import ShardRing


class OneSample:
    """A set of one sample that nobody checked."""

    sizes, remote = [1], False

    def __init__(self, ext, data):
        self._sample = {"__key__": "a", "__url__": "a.tar", "__id__": 0, "__exts__": {"image": ext}, ext: data}

    def stream(self, _):
        yield self._sample


class Harm:
    def __init__(self, canary):
        self._canary = canary

    def __reduce__(self):
        return os.mkdir, (self._canary,)


WEBDATASETS = sorted(
    {*autodecode.decoders, *autodecode.IMAGE_EXTENSIONS, "mp4", "ogv", "avi", "wav", "flac", "bin", "mpg"}
)


def harmful(ext, canary):
    """Return bytes of which webdataset's decoder for the extension makes something; pickles that make a folder."""
    if ext == "pth":
        buffer = io.BytesIO()
        torch.save(Harm(canary), buffer)
        return buffer.getvalue()
    return pickle.dumps(Harm(canary))


@pytest.mark.parametrize("form", ["{}", "depth.{}", "x.{}", "{}.gz"])
def test_no_decoder_of_webdatasets_own_runs(tmp_path, form):
    for ext in WEBDATASETS:
        canary, name = str(tmp_path / f"canary-{ext}"), form.format(ext)
        data = harmful(ext, canary)
        one = OneSample(name, gzip.compress(data) if name.endswith("gz") else data)
        with pytest.raises(autodecode.DecodingError) as caught:
            list(ShardRing([one], 1, seed=0).pipeline(0, range(1)))
        assert isinstance(caught.value.__cause__, DataError), name
    assert list(tmp_path.iterdir()) == []


def test_webdatasets_own_decoders_would_run_it(tmp_path):
    """The proof above can fail: these are the extensions by which webdataset unpickles."""
    made = set()
    for ext in WEBDATASETS:
        canary = tmp_path / f"canary-{ext}"
        with contextlib.suppress(Exception):
            list(webdataset.decode()([{"__key__": "a", ext: harmful(ext, str(canary))}]))
        made |= {ext} if canary.exists() else set()
    assert made >= {"pickle", "pkl", "pyd", "pth"}
