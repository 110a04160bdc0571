"""A prepared dataset made in parts, on several machines, as one data version in a DVC remote.

``plan`` lists the source frames once and divides them, ``prepare_part`` prepares the frames of one
part, ``join`` makes the data version. They share the folder ``streetseg-parts`` in the remote::

    shards/<fingerprint>.json    a finished piece of a shard: its rows and the hashes of its files
    pieces/<fingerprint>/*.npy   the arrays of a piece that is not the whole shard, until the join
    plans/<plan>/plan.json       the shards, settings and description of a dataset
    plans/<plan>/<number>.json   the frames of a part; a part is known by this address

The files of shards go to the remote itself, each as the object that DVC makes of it. The data
version is the one of ``streetseg prepare``, whatever the number of parts.
"""
