//go:build linux && cgo

#include "faultvfs.h"
#include "sqlite_abi.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* file is what SQLite holds; the real one lies behind it. */
typedef struct file {
  abi_file base;
  const char *path; /* "" for a temporary file; interned */
  int sync_dir;     /* SQLite's VFS syncs the directory with the next sync */
  abi_file *real;
} file;

typedef struct fault {
  int kinds;
  char *prefix, *suffix;
  long long n, times, seen, failed;
  int code, how;
} fault;

/* mutex guards everything that follows. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static char *recording; /* the directory, with a slash behind it; or NULL */
static fv_op *ops;
static long long count, room;
static fault faults[FV_MAX_FAULTS];
static char **paths;
static size_t path_count, path_room;

static abi_vfs *real_vfs;
static abi_vfs vfs;

static void *must(void *p) {
  if (p == NULL) abort();
  return p;
}

/* intern returns a copy of path that is never freed. The mutex is held. */
static const char *intern(const char *path) {
  for (size_t i = path_count; i > 0; i--)
    if (strcmp(paths[i - 1], path) == 0) return paths[i - 1];
  if (path_count == path_room) {
    path_room = path_room ? 2 * path_room : 64;
    paths = must(realloc(paths, path_room * sizeof *paths));
  }
  return paths[path_count++] = must(strdup(path));
}

static int recorded(const char *path) {
  return recording != NULL && strncmp(path, recording, strlen(recording)) == 0;
}

/* add puts an operation on record. The mutex is held. */
static fv_op *add(int kind, const char *path, long long start, const void *data, size_t size) {
  if (count == room) {
    room = room ? 2 * room : 1024;
    ops = must(realloc(ops, (size_t)room * sizeof *ops));
  }
  fv_op *op = &ops[count++];
  memset(op, 0, sizeof *op);
  op->kind = kind;
  op->path = path;
  op->start = start;
  op->size = (long long)size;
  if (data != NULL && size > 0) {
    op->data = must(malloc(size));
    memcpy(op->data, data, size);
  }
  return op;
}

static int matches(const fault *f, int kind, const char *path) {
  size_t n = strlen(path), m = f->suffix == NULL ? 0 : strlen(f->suffix);
  if (f->suffix == NULL || !(f->kinds & kind)) return 0;
  return strncmp(path, f->prefix, strlen(f->prefix)) == 0 && n >= m && strcmp(path + n - m, f->suffix) == 0;
}

/* io_error is what SQLite's own VFS says when such an operation fails. */
static int io_error(int kind) {
  switch (kind) {
    case FV_OPEN: return 14; /* SQLITE_CANTOPEN */
    case FV_DELETE: return 10 | (10 << 8);
    case FV_READ: return 10 | (1 << 8);
    case FV_WRITE: return 10 | (3 << 8);
    case FV_TRUNCATE: return 10 | (6 << 8);
    case FV_SYNC: return 10 | (4 << 8);
    case FV_SIZE: return 10 | (7 << 8);
    case FV_LOCK: return 10 | (15 << 8);
    case FV_SHM_MAP: return 10 | (21 << 8);
    case FV_SHM_LOCK: return 10 | (20 << 8);
  }
  return 10; /* SQLITE_IOERR */
}

/* begin counts an operation. It returns the code with which it is to fail, or
** ABI_OK, when it began, and how it is to fail. */
static int begin(int kind, const char *path, long long *start, int *how) {
  int code = ABI_OK;
  pthread_mutex_lock(&mutex);
  if (start != NULL) *start = count;
  for (int i = 0; i < FV_MAX_FAULTS; i++) {
    fault *f = &faults[i];
    if (!matches(f, kind, path)) continue;
    f->seen++;
    if (code != ABI_OK || f->seen < f->n || (f->times >= 0 && f->seen >= f->n + f->times)) continue;
    f->failed++;
    code = f->code != ABI_OK ? f->code : io_error(kind);
    if (how != NULL) *how = f->how;
  }
  pthread_mutex_unlock(&mutex);
  return code;
}

/* done puts an operation on record that was carried out. */
static void done(int kind, file *f, long long start, long long offset, const void *data, long long size) {
  pthread_mutex_lock(&mutex);
  if (recorded(f->path)) {
    fv_op *op = add(kind, f->path, start, data, data == NULL ? 0 : (size_t)size);
    op->offset = offset;
    op->size = size;
  }
  pthread_mutex_unlock(&mutex);
}

/* dir_synced puts on record that the directory of a path was synced. */
static void dir_synced(const char *path, long long start) {
  pthread_mutex_lock(&mutex);
  const char *slash = strrchr(path, '/');
  if (recorded(path) && slash != NULL) {
    char *dir = must(strndup(path, (size_t)(slash - path)));
    add(FV_DIR_SYNC, intern(dir), start, NULL, 0);
    free(dir);
  }
  pthread_mutex_unlock(&mutex);
}

/* ---- methods of a file ---- */

#define REAL(f) (((file *)(f))->real)

static int file_close(abi_file *f) {
  int rc = REAL(f)->methods == NULL ? ABI_OK : REAL(f)->methods->close(REAL(f));
  done(FV_CLOSE, (file *)f, 0, 0, NULL, 0);
  return rc;
}

static int file_read(abi_file *f, void *data, int n, abi_int64 offset) {
  int code = begin(FV_READ, ((file *)f)->path, NULL, NULL);
  return code != ABI_OK ? code : REAL(f)->methods->read(REAL(f), data, n, offset);
}

static int file_write(abi_file *f, const void *data, int n, abi_int64 offset) {
  long long start;
  int how = 0, code = begin(FV_WRITE, ((file *)f)->path, &start, &how);
  if (code != ABI_OK && !(how & FV_TORN)) return code;
  if (code != ABI_OK) n /= 2;
  int rc = REAL(f)->methods->write(REAL(f), data, n, offset);
  if (rc == ABI_OK) done(FV_WRITE, (file *)f, start, offset, data, n);
  return code != ABI_OK ? code : rc;
}

static int file_truncate(abi_file *f, abi_int64 size) {
  long long start;
  int code = begin(FV_TRUNCATE, ((file *)f)->path, &start, NULL);
  if (code != ABI_OK) return code;
  int rc = REAL(f)->methods->truncate(REAL(f), size);
  if (rc == ABI_OK) done(FV_TRUNCATE, (file *)f, start, 0, NULL, size);
  return rc;
}

static int file_sync(abi_file *f, int flags) {
  long long start;
  file *ours = (file *)f;
  int how = 0, code = begin(FV_SYNC, ours->path, &start, &how);
  if (code != ABI_OK && (how & FV_UNTRIED)) return code;
  if (code == ABI_OK) code = REAL(f)->methods->sync(REAL(f), flags);
  pthread_mutex_lock(&mutex);
  if (recorded(ours->path)) add(FV_SYNC, ours->path, start, NULL, 0)->failed = code != ABI_OK;
  pthread_mutex_unlock(&mutex);
  if (code == ABI_OK && ours->sync_dir) {
    ours->sync_dir = 0;
    dir_synced(ours->path, start);
  }
  return code;
}

static int file_size(abi_file *f, abi_int64 *size) {
  int code = begin(FV_SIZE, ((file *)f)->path, NULL, NULL);
  return code != ABI_OK ? code : REAL(f)->methods->file_size(REAL(f), size);
}

static int file_lock(abi_file *f, int level) {
  int code = begin(FV_LOCK, ((file *)f)->path, NULL, NULL);
  return code != ABI_OK ? code : REAL(f)->methods->lock(REAL(f), level);
}

static int file_unlock(abi_file *f, int level) { return REAL(f)->methods->unlock(REAL(f), level); }
static int file_check_reserved_lock(abi_file *f, int *out) { return REAL(f)->methods->check_reserved_lock(REAL(f), out); }
static int file_file_control(abi_file *f, int op, void *arg) { return REAL(f)->methods->file_control(REAL(f), op, arg); }
static int file_sector_size(abi_file *f) { return REAL(f)->methods->sector_size(REAL(f)); }
static int file_device_characteristics(abi_file *f) { return REAL(f)->methods->device_characteristics(REAL(f)); }

static int file_shm_map(abi_file *f, int page, int page_size, int extend, void volatile **out) {
  int code = begin(FV_SHM_MAP, ((file *)f)->path, NULL, NULL);
  if (code != ABI_OK) *out = NULL;
  return code != ABI_OK ? code : REAL(f)->methods->shm_map(REAL(f), page, page_size, extend, out);
}

static int file_shm_lock(abi_file *f, int offset, int n, int flags) {
  int unlocks = flags & 1; /* never refused */
  int code = unlocks ? ABI_OK : begin(FV_SHM_LOCK, ((file *)f)->path, NULL, NULL);
  return code != ABI_OK ? code : REAL(f)->methods->shm_lock(REAL(f), offset, n, flags);
}

static void file_shm_barrier(abi_file *f) { REAL(f)->methods->shm_barrier(REAL(f)); }
static int file_shm_unmap(abi_file *f, int remove) { return REAL(f)->methods->shm_unmap(REAL(f), remove); }
static int file_fetch(abi_file *f, abi_int64 offset, int n, void **out) { return REAL(f)->methods->fetch(REAL(f), offset, n, out); }
static int file_unfetch(abi_file *f, abi_int64 offset, void *p) { return REAL(f)->methods->unfetch(REAL(f), offset, p); }

#define METHODS(map)                                                                                       \
  {                                                                                                        \
    3, file_close, file_read, file_write, file_truncate, file_sync, file_size, file_lock, file_unlock,     \
        file_check_reserved_lock, file_file_control, file_sector_size, file_device_characteristics, (map), \
        file_shm_lock, file_shm_barrier, file_shm_unmap, file_fetch, file_unfetch                          \
  }

static const abi_io_methods with_shm = METHODS(file_shm_map);
static const abi_io_methods without_shm = METHODS(NULL); /* as SQLite's own has it for an immutable file */

/* ---- methods of the VFS ---- */

static int vfs_open(abi_vfs *v, const char *name, abi_file *f, int flags, int *out_flags) {
  long long start;
  file *ours = (file *)f;
  memset(ours, 0, sizeof *ours);
  ours->real = (abi_file *)(ours + 1);
  int code = begin(FV_OPEN, name == NULL ? "" : name, &start, NULL);
  if (code == ABI_OK) code = real_vfs->open(real_vfs, name, ours->real, flags, out_flags);
  if (code != ABI_OK) { /* SQLite closes nothing that has no methods */
    if (ours->real->methods != NULL) ours->real->methods->close(ours->real);
    return code;
  }
  if (ours->real->methods->version < 3) {
    ours->real->methods->close(ours->real);
    return ABI_ERROR;
  }
  f->methods = ours->real->methods->shm_map == NULL ? &without_shm : &with_shm;
  ours->sync_dir = (flags & ABI_OPEN_CREATE) && (flags & (ABI_OPEN_WAL | ABI_OPEN_MAIN_JOURNAL | ABI_OPEN_SUPER_JOURNAL));
  struct stat st; /* opens nothing: closing a descriptor would drop SQLite's locks */
  int known = name != NULL && stat(name, &st) == 0;
  pthread_mutex_lock(&mutex);
  ours->path = intern(name == NULL ? "" : name);
  if (known && recorded(ours->path)) {
    fv_op *op = add(FV_OPEN, ours->path, start, NULL, 0);
    op->inode = (unsigned long long)st.st_ino;
    op->size = (long long)st.st_size;
  }
  pthread_mutex_unlock(&mutex);
  return ABI_OK;
}

static int vfs_remove(abi_vfs *v, const char *name, int sync_dir) {
  long long start;
  int code = begin(FV_DELETE, name, &start, NULL);
  if (code != ABI_OK) return code;
  code = real_vfs->remove(real_vfs, name, sync_dir);
  if (code != ABI_OK) return code;
  pthread_mutex_lock(&mutex);
  if (recorded(name)) add(FV_DELETE, intern(name), start, NULL, 0);
  start = count;
  pthread_mutex_unlock(&mutex);
  if (sync_dir) dir_synced(name, start);
  return ABI_OK;
}

static int vfs_access(abi_vfs *v, const char *name, int flags, int *out) { return real_vfs->access(real_vfs, name, flags, out); }
static int vfs_full_pathname(abi_vfs *v, const char *name, int n, char *out) { return real_vfs->full_pathname(real_vfs, name, n, out); }
static void *vfs_dl_open(abi_vfs *v, const char *name) { return real_vfs->dl_open(real_vfs, name); }
static void vfs_dl_error(abi_vfs *v, int n, char *message) { real_vfs->dl_error(real_vfs, n, message); }
static void (*vfs_dl_sym(abi_vfs *v, void *p, const char *symbol))(void) { return real_vfs->dl_sym(real_vfs, p, symbol); }
static void vfs_dl_close(abi_vfs *v, void *p) { real_vfs->dl_close(real_vfs, p); }
static int vfs_randomness(abi_vfs *v, int n, char *out) { return real_vfs->randomness(real_vfs, n, out); }
static int vfs_sleep(abi_vfs *v, int microseconds) { return real_vfs->sleep(real_vfs, microseconds); }
static int vfs_current_time(abi_vfs *v, double *out) { return real_vfs->current_time(real_vfs, out); }
static int vfs_last_error(abi_vfs *v, int n, char *out) { return real_vfs->last_error(real_vfs, n, out); }
static int vfs_current_time_int64(abi_vfs *v, abi_int64 *out) { return real_vfs->current_time_int64(real_vfs, out); }
static int vfs_set_system_call(abi_vfs *v, const char *name, void (*call)(void)) { return real_vfs->set_system_call(real_vfs, name, call); }
static void (*vfs_get_system_call(abi_vfs *v, const char *name))(void) { return real_vfs->get_system_call(real_vfs, name); }
static const char *vfs_next_system_call(abi_vfs *v, const char *name) { return real_vfs->next_system_call(real_vfs, name); }

static abi_vfs vfs = {
    3, 0, 0, NULL, "leat-fault", NULL, vfs_open, vfs_remove, vfs_access, vfs_full_pathname, vfs_dl_open, vfs_dl_error,
    vfs_dl_sym, vfs_dl_close, vfs_randomness, vfs_sleep, vfs_current_time, vfs_last_error, vfs_current_time_int64,
    vfs_set_system_call, vfs_get_system_call, vfs_next_system_call};

/* ---- what Go calls ---- */

int fv_register(void) {
  if (sqlite3_vfs_find == NULL || sqlite3_vfs_register == NULL) return ABI_ERROR;
  if (real_vfs == NULL) {
    abi_vfs *found = sqlite3_vfs_find(NULL);
    if (found == NULL || found->version < 3) return ABI_ERROR;
    real_vfs = found;
    vfs.file_bytes = (int)sizeof(file) + found->file_bytes;
    vfs.max_path = found->max_path;
  }
  return sqlite3_vfs_register(&vfs, 1);
}

/* It stays registered under its name: files may still be open through it. */
int fv_unregister(void) { return sqlite3_vfs_register(real_vfs, 1); }

static void forget(void) {
  for (long long i = 0; i < count; i++) free(ops[i].data);
  free(ops);
  ops = NULL;
  count = room = 0;
}

void fv_record(const char *dir) {
  pthread_mutex_lock(&mutex);
  forget();
  free(recording);
  recording = must(malloc(strlen(dir) + 2));
  strcpy(recording, dir);
  strcat(recording, "/");
  pthread_mutex_unlock(&mutex);
}

void fv_stop(void) {
  pthread_mutex_lock(&mutex);
  free(recording);
  recording = NULL;
  pthread_mutex_unlock(&mutex);
}

long long fv_count(void) {
  pthread_mutex_lock(&mutex);
  long long n = count;
  pthread_mutex_unlock(&mutex);
  return n;
}

fv_op *fv_hold(long long *n) {
  pthread_mutex_lock(&mutex);
  *n = count;
  return ops;
}

void fv_let_go(void) { pthread_mutex_unlock(&mutex); }

void fv_forget(void) {
  pthread_mutex_lock(&mutex);
  forget();
  pthread_mutex_unlock(&mutex);
}

void fv_note(int kind, const char *path, const void *data, size_t size) {
  pthread_mutex_lock(&mutex);
  if (recording != NULL) add(kind, intern(path), count, data, size);
  pthread_mutex_unlock(&mutex);
}

int fv_fail(int kinds, const char *prefix, const char *suffix, long long n, long long times, int code, int how) {
  int slot = -1;
  pthread_mutex_lock(&mutex);
  for (int i = 0; i < FV_MAX_FAULTS && slot < 0; i++)
    if (faults[i].suffix == NULL) slot = i;
  if (slot >= 0) {
    fault f = {kinds, must(strdup(prefix)), must(strdup(suffix)), n, times, 0, 0, code, how};
    faults[slot] = f;
  }
  pthread_mutex_unlock(&mutex);
  return slot;
}

void fv_clear(int slot) {
  pthread_mutex_lock(&mutex);
  free(faults[slot].prefix);
  free(faults[slot].suffix);
  memset(&faults[slot], 0, sizeof faults[slot]);
  pthread_mutex_unlock(&mutex);
}

long long fv_seen(int slot) {
  pthread_mutex_lock(&mutex);
  long long n = faults[slot].seen;
  pthread_mutex_unlock(&mutex);
  return n;
}

long long fv_failed(int slot) {
  pthread_mutex_lock(&mutex);
  long long n = faults[slot].failed;
  pthread_mutex_unlock(&mutex);
  return n;
}
