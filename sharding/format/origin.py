"""Where a sample comes from in its data set: what names of source files tell, and the index keeps."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a sample comes from; "" where the data set has no such thing.

    Attributes:
        split: "train" or "val".
        scene: Number of the scene, with its zeros: "0022" (MegaDepth), "00022" (DIODE).
        scan: Number of the scan in the scene (DIODE); name of the reconstruction, such as "dense0" (MegaDepth).
        scene_type: "indoors" or "outdoor".
    """

    split: str = ""
    scene: str = ""
    scan: str = ""
    scene_type: str = ""
