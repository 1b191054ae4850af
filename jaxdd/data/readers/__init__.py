"""Readers of datasets, one file per kind.

digits      the digits of scikit-learn
folder      pictures in one folder per class; `listing` finds the files, `decoding`
            reads them, `pictures` decodes one
npz         arrays in one archive
table       CSV, Parquet and NPZ tables; `table_files` reads their columns
small       scikit-learn's breast cancer and wine, and waves of a function
tfds        prepared TFDS datasets; `tfds_info` reads their metadata, `tfds_paths` finds
            them, `cache` stores the decoded arrays
"""
