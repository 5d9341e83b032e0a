"""Operations: long tasks that an administrator, a learner or the scheduler starts."""
