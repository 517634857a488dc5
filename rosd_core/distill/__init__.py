"""Step 5: one pass over the score table that pulls the student to the teacher."""
