"""Publishing a day: the commit protocol, from the claim to the finished commit."""
