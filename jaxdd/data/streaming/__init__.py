"""Images that stay in a file and are read row by row, where memory does not hold them.

rows      `Rows`, what stands in the place of an array of images on the host
sources   what is in the place of a file: several of them, or rows that stand for it
store     files of rows: built once from decoded samples, checked, opened
building  the decoding into them, which goes on where it stopped
imagining what a plan has in the place of a store that is not built yet
host      `HostImages`, what stands in the place of images on the device
choice    when images are streamed
"""
