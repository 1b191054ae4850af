"""Datasets from their original archives, written in the form of TFDS.

whole       `prepare`: from a name to a prepared dataset; read it first
transfer    an archive over the network, resumed where it was cut
checked     archives that are there: found by name, compared with their checksums
content     what a reader gives: examples by split, and names of classes
readers/    one file per original format
writing     the form of TFDS: shards in the order of the official builder, metadata
"""
