//go:build linux && cgo

/*
** The part of SQLite's documented interface to the operating system that a
** VFS needs (https://www.sqlite.org/c3ref/vfs.html, c3ref/io_methods.html).
** It is declared here and not included, because this package brings no SQLite
** of its own: it is linked with the one in github.com/mattn/go-sqlite3. The
** names are ours; layout and values are SQLite's, which never change within
** version 3.
*/
#ifndef LEAT_SQLITE_ABI_H
#define LEAT_SQLITE_ABI_H

typedef long long abi_int64;
typedef struct abi_io_methods abi_io_methods;
typedef struct abi_file abi_file;
typedef struct abi_vfs abi_vfs;

struct abi_file {
  const abi_io_methods *methods;
};

struct abi_io_methods { /* version 3 */
  int version;
  int (*close)(abi_file *);
  int (*read)(abi_file *, void *, int amount, abi_int64 offset);
  int (*write)(abi_file *, const void *, int amount, abi_int64 offset);
  int (*truncate)(abi_file *, abi_int64 size);
  int (*sync)(abi_file *, int flags);
  int (*file_size)(abi_file *, abi_int64 *size);
  int (*lock)(abi_file *, int);
  int (*unlock)(abi_file *, int);
  int (*check_reserved_lock)(abi_file *, int *out);
  int (*file_control)(abi_file *, int op, void *arg);
  int (*sector_size)(abi_file *);
  int (*device_characteristics)(abi_file *);
  int (*shm_map)(abi_file *, int page, int page_size, int extend, void volatile **);
  int (*shm_lock)(abi_file *, int offset, int n, int flags);
  void (*shm_barrier)(abi_file *);
  int (*shm_unmap)(abi_file *, int delete_flag);
  int (*fetch)(abi_file *, abi_int64 offset, int amount, void **);
  int (*unfetch)(abi_file *, abi_int64 offset, void *);
};

struct abi_vfs { /* version 3 */
  int version;
  int file_bytes;
  int max_path;
  abi_vfs *next;
  const char *name;
  void *app_data;
  int (*open)(abi_vfs *, const char *name, abi_file *, int flags, int *out_flags);
  int (*remove)(abi_vfs *, const char *name, int sync_dir);
  int (*access)(abi_vfs *, const char *name, int flags, int *out);
  int (*full_pathname)(abi_vfs *, const char *name, int n, char *out);
  void *(*dl_open)(abi_vfs *, const char *name);
  void (*dl_error)(abi_vfs *, int n, char *message);
  void (*(*dl_sym)(abi_vfs *, void *, const char *symbol))(void);
  void (*dl_close)(abi_vfs *, void *);
  int (*randomness)(abi_vfs *, int n, char *out);
  int (*sleep)(abi_vfs *, int microseconds);
  int (*current_time)(abi_vfs *, double *);
  int (*last_error)(abi_vfs *, int, char *);
  int (*current_time_int64)(abi_vfs *, abi_int64 *);
  int (*set_system_call)(abi_vfs *, const char *name, void (*call)(void));
  void (*(*get_system_call)(abi_vfs *, const char *name))(void);
  const char *(*next_system_call)(abi_vfs *, const char *name);
};

/* Result codes. */
#define ABI_OK 0
#define ABI_ERROR 1

/* Flags of open. */
#define ABI_OPEN_CREATE 0x00000004
#define ABI_OPEN_MAIN_JOURNAL 0x00000800
#define ABI_OPEN_SUPER_JOURNAL 0x00004000
#define ABI_OPEN_WAL 0x00080000

/*
** Weak: the link that cgo makes of this package alone goes without them, and
** the final one finds SQLite's.
*/
extern int sqlite3_vfs_register(abi_vfs *, int make_default) __attribute__((weak));
extern abi_vfs *sqlite3_vfs_find(const char *name) __attribute__((weak));

#endif
