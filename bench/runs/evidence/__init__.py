"""What a record's numbers do not show: the files beside it, single images and sample sheets."""
