"""The synthetic set: what is stored, what is learned, and where it starts.

sets        batches of a set, and its union with earlier segments
formation   several training images in one stored image (IDC)
decoder     parameterisation of images, labels and step size
initial     initial images and labels
crops       initial images that are cut from real ones (RDED)
optimizer   one optimiser each for images, labels and step size
"""
