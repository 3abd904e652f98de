"""The steps of the story, one module each, named by what happens. They import `deploy.local` and call programs from outside only."""
