"""Where a sample comes from in its data set: derived from the names of source files, recorded in the index."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The place of a sample in its data set; "" where the data set has no such field.

    Attributes:
        split: "train" or "val".
        scene: Number of the scene with leading zeros: "0022" (MegaDepth), "00022" (DIODE).
        scan: Number of the scan in the scene (DIODE); name of the reconstruction, such as "dense0" (MegaDepth).
        scene_type: "indoors" or "outdoor".
    """

    split: str = ""
    scene: str = ""
    scan: str = ""
    scene_type: str = ""
