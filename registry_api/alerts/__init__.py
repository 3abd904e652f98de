"""Alert rules: what somebody wants to be told of when a release says it, and the telling. On published numbers only. Imports releases and people."""
