"""How a word that the vocabulary lacks is spelled: a proper distribution over strings."""
