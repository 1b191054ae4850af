"""Readers of original archives, one file per format: paths -> `Content`.

idx             MNIST and Fashion-MNIST
cifar           CIFAR-10 and CIFAR-100, as binaries or as pickles
svhn            SVHN, as files of MATLAB
tiny_imagenet   Tiny ImageNet, as pictures in a zip archive
"""
