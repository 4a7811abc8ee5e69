"""A host made steady for the length of a run: governor, interrupts, moderation. All of it is put
back as it was found."""
