"""The commands of `headfirst`, one file each."""
