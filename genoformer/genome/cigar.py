"""CIGAR operations by their codes in BAM.

Source: SAM specification, section 4.2.
"""

CIGAR_INSERTION, CIGAR_DELETION, CIGAR_EQUAL, CIGAR_DIFFERENT = 1, 2, 7, 8
