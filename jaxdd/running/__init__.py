"""A method's steps: the compiled loop, and the loop that resumes."""
