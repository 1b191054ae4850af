"""Files of a run. A file that is read is checked before any of it is used.

paths        paths from flags and arguments: expanded, bounded, refused in a sentence
files        files that are written atomically, and folders to write to
records      JSON files with a schema
arrays       .npz archives with a schema
array_blocks arrays of an archive that memory does not hold, some rows at a time
lock         one owner per workdir
workdir      run.json, the record of a run: its configuration and where it resumed
metrics      metrics.jsonl
checkpoints  the state of a run, with Orbax
signals      SIGTERM and SIGINT as a flag with a deadline
compiled     compiled programs, for later runs and processes
provenance   versions and device of a result
"""
