"""From a picture of any kind and size to a depth map: what surrounds a network, and needs none.

    path, PIL image, array -> photo -> at the training camera's focal length -> tiles -> network -> depth, blended
                              photo.py  camera.py                               tiles.py

- `levels`: pixels of any type to 8 bits.
- `photo`: a picture, upright, with its focal length.
- `focal`: the focal length that EXIF tells.
- `camera`: the camera that a network was trained on, and the size at which it would have taken a photo.
- `tiles`: large images in overlapping parts, blended without seams.

Nothing here imports torch; `training.model.inference` puts a network in the middle.
"""
