"""A whole run, from data to artifact, behind `jaxdd.distill`.

options       every flag of a run
resolution    `Resolved`: the flags, completed by the preset and the data; `bank_spec`
              is what its experts are
identity      which values of a run make it this run and no other
opening       checks the flags against the data before anything is written
run           the run from top to bottom: read this first
job           the method, its data and its protocol; `place` says where files go
first_images  what it begins at; `starts` opens a set made before
pieces        a resumable run of the images; `segmented` is the loop over segments (D4A)
sorting       orders samples by difficulty for a window; `banks` trains the experts
finished      decides what a repeated command does
experts       a run that only trains experts
api           `jaxdd.distill`; `result` is its result
memory        refuses what no memory of this machine holds
"""
