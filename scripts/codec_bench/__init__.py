"""The parts of `profile_codecs.py`."""
