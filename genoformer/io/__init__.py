"""Files to values and back; the only place that imports pysam, pyfaidx, pyBigWig, h5py and Bio."""
