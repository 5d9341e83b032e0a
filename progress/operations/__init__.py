"""What an administrator, a learner or the scheduler starts."""
