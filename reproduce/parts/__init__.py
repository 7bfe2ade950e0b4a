"""What single exhibits are made of: their numbers, texts and pictures."""
