-- What an entry needs beside the log to be told and run again, as JSON: of a
-- timer when it was due, of a rejection its code and reason, of an admin action
-- who asked for it; of timers and rejections how far the log was seen. digest
-- has a checksum of each effect in hexadecimal, in their order, without spaces
-- between. Both are empty in entries of before.
ALTER TABLE journal ADD COLUMN input TEXT NOT NULL DEFAULT '';
ALTER TABLE journal ADD COLUMN digest TEXT NOT NULL DEFAULT '';
