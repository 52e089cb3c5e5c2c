
// Nothing but a comment.
