//go:build linux && cgo

#ifndef LEAT_FAULTVFS_H
#define LEAT_FAULTVFS_H

#include <stddef.h>

/* What SQLite does to a file, and what is noted besides. One bit each. */
enum {
  FV_OPEN = 1 << 0,
  FV_DELETE = 1 << 1,
  FV_READ = 1 << 2,
  FV_WRITE = 1 << 3,
  FV_TRUNCATE = 1 << 4,
  FV_SYNC = 1 << 5,
  FV_SIZE = 1 << 6,
  FV_LOCK = 1 << 7,
  FV_SHM_MAP = 1 << 8,
  FV_SHM_LOCK = 1 << 9,
  FV_CLOSE = 1 << 10,
  FV_DIR_SYNC = 1 << 11, /* of the directory called path */
  FV_RENAME = 1 << 12,   /* noted by Go: of path to data */
  FV_REPLACE = 1 << 13,  /* noted by Go: path is a new file holding data */
  FV_PATH_SYNC = 1 << 14, /* noted by Go: of the file or directory called path */
  FV_MARK = 1 << 15      /* noted by Go: data is a text */
};

/* One operation that was carried out, or a sync that was refused. */
typedef struct fv_op {
  int kind;
  int failed;             /* a sync that was refused */
  long long start;        /* how many operations were on record when it began */
  long long offset;       /* of a write */
  long long size;         /* of data; of the file after a truncate or open */
  unsigned long long inode; /* of an open file */
  const char *path;       /* never freed */
  void *data;
} fv_op;

/* How an operation fails. */
enum {
  FV_TORN = 1 << 0,   /* half of a write is carried out */
  FV_UNTRIED = 1 << 1 /* a sync is not on record as refused */
};

/* At most so many faults at once. */
#define FV_MAX_FAULTS 8

int fv_register(void);   /* makes it SQLite's default; 0, or SQLite's error */
int fv_unregister(void); /* makes SQLite's own the default again */

void fv_record(const char *dir); /* forget what is on record; record below dir */
void fv_stop(void);
long long fv_count(void);
fv_op *fv_hold(long long *n); /* what is on record; nothing moves until fv_let_go */
void fv_let_go(void);
void fv_forget(void);
void fv_note(int kind, const char *path, const void *data, size_t size);

/* fv_fail has the n-th to (n+times-1)-th matching operation fail with code, or
** where that is 0 with the I/O error of its kind; for ever where times is
** negative. It returns the fault's slot, or -1. */
int fv_fail(int kinds, const char *prefix, const char *suffix, long long n, long long times, int code, int how);
void fv_clear(int slot);
long long fv_seen(int slot);
long long fv_failed(int slot);

#endif
