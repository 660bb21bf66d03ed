"""Read ImageNet in any of its forms and pack it at 64x64 into one memory-mapped array.

`pack.pack(path, folder)` reads class folders, class tars, EDM's zip or folder, the official LMDB or
parquet files (one source class each) and writes `images.npy` [N, 3, 64, 64] uint8, `labels.npy` [N] int64
and `manifest.json`; `packed.open_packed(folder)` opens them for training.
"""
