"""The peers' apps, as a skilled user of each would write them."""
