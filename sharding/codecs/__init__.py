"""Encode the parts of a sample, image, depth and valid, to the payloads of their members, and decode them.

    source file -> image_header, image, npy, hdf5 -> arrays -> ppm, image, planes, npy -> payload of a member
    payload of a member -> image (ppm, or an image file) -> image
                        -> parts (planes, npy or log16, by extension) -> depth
                        -> parts (npy or PNG, by its first bytes) -> valid

`limits` bounds the size of images and maps before they are decoded. Files of a source: `image_header` reads size and
format without decoding pixels, `image` decodes any image file and encodes JPEG, `hdf5` reads MegaDepth's depth, `npy`
DIODE's. Members: `ppm` is plain pixels, `planes` is depth as byte planes in a `.npy` file, `log16` is depth as a 16-bit
PNG, read from older sets and written by `depthstream predict`. A JPEG file is stored as it is, unless it is shrunk.
"""
