"""The parts of `profile_codecs.py`.

`candidates` has the encodings, `views` has the options and loads the images and depth maps, and `measure` times every
candidate on every group of them.
"""
