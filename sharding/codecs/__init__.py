"""Encode the parts of a sample, image, depth and valid, to the payloads of their members, and decode them.

    source file -> image_header, image, npy, hdf5 -> arrays -> rows, image, planes, log16_planes, pbm -> payload
    payload of a member -> image (rows, ppm, or an image file, by its first bytes) -> image
                        -> parts (planes, log16_planes, npy or log16, by extension) -> depth
                        -> parts (pbm, npy or PNG, by its first bytes) -> valid

`limits` bounds the size of images and maps before they are decoded. Files of a source: `image_header` reads size and
format without decoding pixels, `image` decodes any image file and encodes JPEG, `hdf5` reads MegaDepth's depth, `npy`
DIODE's. Members: `rows` is an image as differences of rows and `ppm` as plain pixels; `planes` is depth as byte planes
in a `.npy` file, `log16_planes` its rounded logarithm; `pbm` is a mask as bits. `log16` is depth as a 16-bit PNG, read
from older sets and written by `depthstream predict`. A JPEG file is stored as it is, unless it is shrunk.
"""
