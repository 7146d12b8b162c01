"""Encode the parts of a sample, image, depth and valid, to the payloads of their members, and decode them.

    source file -> image_header, image, npy, hdf5 -> arrays -> ppm, image, planes, npy -> payload of a member
    payload of a member -> parts -> image, ppm, planes, npy, log16 -> arrays

`limits` bounds the size of images and maps before they are decoded. Files of a source: `image_header` reads size and
format without decoding pixels, `image` decodes any image file and encodes JPEG, `hdf5` reads MegaDepth's depth, `npy`
DIODE's. Members: `ppm` is plain pixels, `planes` is depth as byte planes in a `.npy` file, `log16` is depth as a 16-bit
PNG, read from older sets. `parts` selects the decoder by the extension of a member.
"""
