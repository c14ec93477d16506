"""Ray Data stages and file formats: corpus, decoding, codebook, shards, batches, archive, labels."""
