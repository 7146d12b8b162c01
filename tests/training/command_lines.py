"""Command lines that are right, and those that are wrong, by what the program says to them.

SET and VAL stand for two sets that share no scene; the other paths are those of the test's world. The words of a line
are what lies between blanks: a line that ends in a blank has an empty last word.
"""

HUGE = "9" * 400
NUMBERS = ["-1", "2.5", "x", "", "nan", "inf", HUGE, "1e3", "0x10", "true"]

# Words of a command that would run, up to its paths.
RIGHT = {
    "toyworld": "new/toy --layout diode --images 1",
    "shard megadepth": "source new/set",
    "shard diode": "source new/set --split train",
    "index": "tars new/set",
    "verify": "SET",
    "inspect": "SET",
    "pretrain": "SET --out new/run --batch-size 8",
    "finetune": "SET --val VAL --out new/run --accelerator cpu",
    "evaluate": "run SET",
    "predict": "run photo.jpg --out new/out",
    "export": "run --onnx new/a.onnx",
    "compare": "run --out new/report.html",
    "profile": "SET",
    "demo": "--out new/demo",
}

FINETUNE = "finetune SET --val VAL --out new/run"
HOLDOUT = "finetune SET --out new/run --holdout-scenes"
SHARD = "shard diode source new/set --split train"
SHRUNK = "shard megadepth source new/set --max-side"
PRETRAIN = "pretrain SET --out new/run"
PREDICT = "predict run photo.jpg --out new/out"
COMPARE = "compare run --out new/report.html"

ALSO_RIGHT = [
    f"{SHARD} --workers 2 --allow-bad 1 --shard-size 10MB",
    f"{SHRUNK} 512 --jpeg-quality 90 --jpeg-subsampling 4:2:0",
    f"{SHARD} --preset compact --jpeg-quality 90",
    "verify SET --against source",
    "inspect SET --where height>0 --samples 2 --grid new/sheet.png",
    f"{PRETRAIN} --weights 1 --method simclr --batch-size 2 --accelerator cpu",
    "pretrain SET VAL --out new/run --weights 1,2 --batch-size 8",
    f"{HOLDOUT} 1",
    f"{HOLDOUT} 00007",
    f"{HOLDOUT} 1 --val VAL --val-where height>0",
    "finetune SET --val SET --allow-overlap --out new/run",
    f"{FINETUNE} --zoom 1,2 --jitter 0,0,0 --checkpoint-every 500steps --cache new/cache --seed 4294967295",
    f"{FINETUNE} --augment tutorial --rotation 0 --where height>0",
    f"{FINETUNE} --accelerator cpu --devices 2 --batch-size 10 --micro-batch 5 --freeze-epochs 50 --warmup 0.5",
    f"{FINETUNE} --reader webdataset --shuffle-buffer 1",
    f"{FINETUNE} --epochs 10 --config least.yaml",
    f"{PREDICT} --focal-px 100 --tile-pixels 65536",
    "predict run/checkpoints/best.ckpt photo.jpg --out new/out",
    "evaluate run SET --checkpoint best",
    f"{COMPARE} --val VAL --where height>0 --margin 0.2",
    "compare --arm a=run --out new/report.html",
    "profile SET --repeats 1 --where height>0",
    "profile SET --height 48 --scale 0.5 --augment tutorial --rotation 0 --flip 1 --jitter 0 --batch-size 1000",
]

_NOT_WHOLE = {
    "--images: expected a whole number": [
        f"toyworld new/toy --layout diode --images {value}" for value in ("0", *NUMBERS)
    ],
    "--max-side: expected a whole number": [f"{SHRUNK} {value}" for value in ("0", *NUMBERS)],
    "--jpeg-quality: expected a whole number": [
        f"{SHRUNK} 512 --jpeg-quality {value}" for value in ("0", "101", *NUMBERS)
    ],
    "--workers: expected a whole number": [f"{SHARD} --workers {value}" for value in NUMBERS],
    "--allow-bad: expected a whole number": [f"{SHARD} --allow-bad {value}" for value in NUMBERS],
    "--samples: expected a whole number": [f"inspect SET --samples {value}" for value in ("0", *NUMBERS)],
    "--epochs: expected a whole number": [f"{FINETUNE} --epochs {value}" for value in ("0", *NUMBERS)],
    "--batch-size: expected a whole number": [
        f"{words} --batch-size {value}" for words in (FINETUNE, "profile SET") for value in ("0", *NUMBERS)
    ],
    "--repeats: expected a whole number": [f"profile SET --repeats {value}" for value in ("0", *NUMBERS)],
    "--height: expected a whole number": [
        "toyworld new/toy --layout diode --images 1 --height 15",
        f"{FINETUNE} --height 0",
        "profile SET --height 32",
    ],
    "--width: expected a whole number": ["toyworld new/toy --layout diode --images 1 --width 15"],
    "--tile-pixels: expected a whole number": [f"{PREDICT} --tile-pixels {value}" for value in ("0", "-1", "x", "nan")],
    "--shuffle-buffer: expected a whole number": [f"{FINETUNE} --shuffle-buffer 0"],
    "--seed: expected a whole number": [f"{FINETUNE} --seed 4294967296"],
    "line 1: epochs: expected a whole number": [f"{FINETUNE} --config wrong.yaml"],
}

_NOT_A_NUMBER = {
    "--shard-size: expected a size": [f"{SHARD} --shard-size {value}" for value in ("10XB", "0", *NUMBERS)],
    "--learning-rate: expected a number": [f"{FINETUNE} --learning-rate {value}" for value in ("0", "1_0")],
    "--focal-px: expected a number": [f"{PREDICT} --focal-px {value}" for value in ("0", "-1", "x", "nan")],
    "--margin: expected a number": [f"{COMPARE} --margin {value}" for value in ("0", "1", *NUMBERS)],
    "expected a positive number for each of 1 sets": [
        f"{PRETRAIN} --weights {value}" for value in ("1,1", "0", "x", "-1", "nan", "inf")
    ],
    "expected a positive number for each of 2 sets": ["pretrain SET SET --out new/run --weights 1e308,1e308"],
    "--micro-batch: expected auto or a number": [f"{FINETUNE} --micro-batch 0"],
    "--devices: expected auto": [f"{FINETUNE} --devices {value}" for value in ("0", "x", "1.5", "0,a", ",", "-2")],
    "expected a time such as 15min": [
        f"{FINETUNE} --checkpoint-every {value}" for value in ("0s", "soon", "1.5steps", f"{'9' * 20}steps")
    ],
    "--checkpoint-every: expected one argument": [f"{FINETUNE} --checkpoint-every -1h"],
}

_NO_CHOICE = {
    "--layout: expected one of": ["toyworld new/toy --layout kitti --images 1"],
    "--jpeg-subsampling: expected one of": [f"{SHRUNK} 512 --jpeg-subsampling 4:1:1"],
    "--split: expected one of": ["shard diode source new/set --split test"],
    "--method: expected one of": [f"{PRETRAIN} --method {value}" for value in ("x", "byol")],
    "--model: no model named 'x'": [f"{PRETRAIN} --model x"],
    "--loss: expected one of": [f"{FINETUNE} --loss l2"],
    "--checkpoint: expected one of": ["evaluate run SET --checkpoint first"],
    **{f"--{name}: expected one of": [f"{PRETRAIN} --{name} x"] for name in ("views", "precision", "augmentation")},
}

_MISSING = {
    "missing: COMMAND": ["", "--nonsense"],
    "missing: DATASET": ["shard"],
    "missing: SET": ["verify"],
    "missing: --layout": ["toyworld new/toy --images 1"],
    "missing: --split": ["shard diode source new/set"],
    "missing: --out": ["pretrain SET", "predict run photo.jpg"],
    "missing: --onnx": ["export run"],
    "missing: RUN, or --arm": ["compare --out new/report.html"],
    "neither --val nor --holdout-scenes": ["finetune SET --out new/run"],
    "no command named demonstrate": ["demonstrate"],
    "no command named kitti": ["shard kitti source new/set"],
    "no place for": ["verify SET SET", "demo more"],
    "no option --epoch; did you mean --epochs?": [f"{FINETUNE} --epoch 3"],
    "--holdout-scenes: expected text": [f"{HOLDOUT} "],
    "--zoom: expected text": [f"{FINETUNE} --zoom "],
    "--weights: expected text": [f"{PRETRAIN} --weights "],
    "--contrasts: expected text": [f"{COMPARE} --contrasts "],
    "--arm: expected text": ["compare --out new/report.html --arm "],
}

_PATHS = {
    "sourc: expected a folder or an archive of the data set, found nothing": [
        "shard diode sourc new/set --split train"
    ],
    "source and set are the same folder": [
        f"shard diode {source} source --split train" for source in ("source", "./source/../source")
    ],
    "expected the unpacked data set, found archives": ["shard diode downloads new/set --split train"],
    "expected a new or empty folder for the set": ["shard diode source downloads --split train"],
    "nothing: expected a folder of .tar files": ["index nothing new/set"],
    "--against nothing: expected a folder or an archive": ["verify SET --against nothing"],
    "nothing: expected a shard set": [
        *("inspect nothing", "profile nothing", "evaluate run nothing", f"{COMPARE} --val nothing"),
        *("pretrain SET nothing --out new/run", "finetune SET --val nothing --out new/run"),
        "finetune nothing --val nothing --out new/run",
    ],
    "expected a shard set with manifest.json, found none": ["inspect source"],
    "expected the folder of a shard set with manifest.json, found a file": ["inspect file.txt"],
    "found a folder of sets": ["inspect sets"],
    "holds a shard set": ["toyworld SET --layout diode --images 1"],
    "source is not empty: train is not of a run": [
        "pretrain SET --out source",
        "finetune SET --val VAL --out source",
    ],
    "expected a folder, found a file": [
        *("shard diode source file.txt --split train", "index tars file.txt/set", "demo --out file.txt"),
        *("inspect SET --grid file.txt/sheet.png", "predict run photo.jpg --out file.txt"),
        *(f"finetune SET --val VAL --out {out}" for out in ("file.txt", "file.txt/run")),
        f"{FINETUNE} --cache file.txt",
    ],
    "expected a file: Is a directory": ["inspect SET --grid source", "compare run --out source"],
    "expected a file name that ends in .onnx": [
        f"export run --onnx {name}" for name in ("source", "photo.jpg", "a.png")
    ],
    "expected a run folder with config.yaml, found none": [
        *("evaluate nothing SET", "evaluate source SET", "evaluate run/checkpoints/best.ckpt SET"),
        *("compare nothing --out new/report.html", "compare --out new/report.html --arm a=nothing"),
    ],
    "expected a checkpoint at nothing": ["export nothing --onnx new/a.onnx", "predict nothing photo.jpg --out new/out"],
    "phot.jpg: expected an image file, a folder or a pattern, found nothing": ["predict run phot.jpg --out new/out"],
    "downloads: expected pictures": ["predict run downloads --out new/out"],
    "nothing/*.jpg: expected pictures": ["predict run nothing/*.jpg --out new/out"],
    "expected an encoder at nothing": [f"{FINETUNE} --encoder nothing"],
    "expected an encoder at source": [f"{FINETUNE} --encoder source"],
    "file.txt: expected a state dict of torch": [
        f"{FINETUNE} --encoder file.txt",
        f"{PRETRAIN} --method distillation --teacher-weights file.txt",
    ],
    "nothing: expected a regular file": [f"{PRETRAIN} --method distillation --teacher-weights nothing"],
    "expected a readable YAML file": [
        "inspect SET --config ",
        *(f"{FINETUNE} --config {name}" for name in ("nothing.yaml", "file.txt")),
    ],
}

_URLS = {
    "whose host cannot be one": [
        "inspect http://[bad/x",
        "verify SET --against http://[bad",
        "shard diode http://[bad/x new/set --split val",
    ],
    "expected a path or a URL with //": ["inspect s3:/bucket/x", "toyworld s3:/bucket/x --layout diode --images 1"],
    "only sets and archives may be behind URLs": [
        *("index tars s3://bucket/set", "inspect SET --grid s3://bucket/sheet.png", "demo --out s3://bucket/demo"),
        *("pretrain SET --out s3://bucket/run", "finetune SET --val VAL --out s3://bucket/run"),
        *("predict run photo.jpg --out s3://bucket/out", "compare run --out s3://bucket/report.html"),
    ],
}

_QUERIES = {
    "--where 'nonsense': no column named nonsense": [
        f"{words} --where nonsense" for words in ("inspect SET", FINETUNE, COMPARE, "profile SET")
    ],
    "--val-where 'nonsense'": [f"{FINETUNE} --val-where nonsense"],
    "found 1, which is the same for all samples": ["inspect SET --where 1"],
    "a list stands only after in": ["inspect SET --where [0]"],
    "found height, which is a number": ["inspect SET --where height"],
    "'**' is not understood": ["inspect SET --where height>10**9"],
    "--val-where selects from --val, and there is none": [f"{HOLDOUT} 1 --val-where height>0"],
}

_TOGETHER = {
    "--jpeg-quality: expected with --max-side": [
        "shard megadepth source new/set --jpeg-quality 90",
        f"{SHARD} --jpeg-quality 90",
    ],
    "--jpeg-subsampling: expected with --max-side": ["shard megadepth source new/set --jpeg-subsampling 4:2:0"],
    "which --reader webdataset does not use": [f"{PRETRAIN} --weights 1 --reader webdataset"],
    "--method dinov2 masks patches": [f"{PRETRAIN} --method dinov2"],
    "starts from random weights, which teach nothing": [
        f"{PRETRAIN} --method distillation --teacher torchvision/resnet50"
    ],
    "--teacher: --method dino has no teacher": [f"{PRETRAIN} --teacher dinov3/vitb16"],
    "expected at least 2 for each device at once, found 1": [
        f"{PRETRAIN} --method simclr --batch-size 1",
        f"{PRETRAIN} --method simclr --batch-size 2 --accelerator cpu --devices 2",
    ],
    "that of all 3 processes: give a multiple of 3": [
        f"{PRETRAIN} --accelerator cpu --devices 3 --batch-size 32",
        f"{FINETUNE} --accelerator cpu --batch-size 10 --devices 3",
    ],
    "--micro-batch 3 does not divide the 10 samples": [f"{FINETUNE} --accelerator cpu --batch-size 10 --micro-batch 3"],
    "with --accelerator cpu expected a number of processes": [f"{FINETUNE} --accelerator cpu --devices 0,1"],
    "--accelerator gpu is not available": [f"{FINETUNE} --accelerator gpu"],
    "a CPU computes in 32-true or bf16-mixed": [f"{FINETUNE} --accelerator cpu --precision 16-mixed"],
    "--fused: with --precision 16-mixed": [f"{FINETUNE} --precision 16-mixed --fused"],
    "--sync-batchnorm: torch shares BatchNorm statistics over GPUs alone": [
        f"{FINETUNE} --accelerator cpu --sync-batchnorm"
    ],
    "--freeze-epochs 51: expected at most the 50 epochs": [f"{FINETUNE} --accelerator cpu --freeze-epochs 51"],
    "--warmup 1e+06: expected at most the 500 steps": [
        f"{FINETUNE} --accelerator cpu --encoder-name resnet18 --batch-size 4 --warmup 1000000"
    ],
    "--clip 0 clips nothing": [f"{FINETUNE} --accelerator cpu --clip 0 --config clip.yaml"],
    "min_epochs 9: expected at most the 2": [f"{FINETUNE} --accelerator cpu --epochs 2 --config least.yaml"],
    "which only --reader webdataset reads": [f"{FINETUNE} --pipe cat"],
    "--pipe: expected a command with {url} in it": [f"{FINETUNE} --reader webdataset --pipe cat"],
    "pipe is a command, which is run: it is not taken from a file": [
        f"{words} --config pipe.yaml" for words in (FINETUNE, PRETRAIN)
    ],
}

_SCENES = {
    "17 scenes (00000, 00001, 00002, 00003, 00004, ...) and 40 samples": ["finetune SET --val SET --out new/run"],
    "expected at least 1 scene": [f"{HOLDOUT} {value}" for value in ("0", "-1")],
    "the training set has no scene": [f"{HOLDOUT} {value}" for value in ("x", "1e3", "00007,x")],
    "the training set has 17 scenes, so none would be left": [f"{HOLDOUT} 500"],
}

_VIEWS = {
    "expected the least and the largest zoom": [
        f"{words} --zoom {value}" for words in (FINETUNE, "profile SET") for value in ("2,1", "1", "0,1", "nan,1")
    ],
    "expected the changes of brightness": [
        f"{words} --jitter {value}" for words in (FINETUNE, "profile SET") for value in ("1,0,0", "0,0", "x")
    ],
    "the crop of --augment tutorial has a zoom of its own": [
        f"{words} --augment tutorial --zoom 1,2" for words in (FINETUNE, "profile SET")
    ],
}

_ARMS = {
    "given twice": [
        *("compare run run --out new/report.html", "compare run --arm a=run --out new/report.html"),
        "compare --out new/report.html --arm a=run,run",
    ],
    "--contrasts: expected A:B,C:D": [f"{COMPARE} --contrasts run"],
    "--contrasts: run is compared with itself": [f"{COMPARE} --contrasts run:run"],
    "--contrasts: no arm named": [f"{COMPARE} --contrasts {value}" for value in ("run:x", "a:b,a:b")],
    "--arm: expected NAME=RUN,RUN": [f"compare --out new/report.html --arm {value}" for value in ("run", "=run", "a=")],
}

WRONG = [
    (line, said)
    for group in (
        *(_NOT_WHOLE, _NOT_A_NUMBER, _NO_CHOICE, _MISSING, _PATHS, _URLS, _QUERIES, _TOGETHER, _SCENES, _VIEWS, _ARMS),
    )
    for said, lines in group.items()
    for line in lines
]
