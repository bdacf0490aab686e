/* Writes down what a process does to the files below a directory; loaded by LD_PRELOAD.

   COMITY_JOURNAL_OF   the directory, as an absolute path
   COMITY_JOURNAL      the journal, opened for appending by whoever starts the process

   A record is one line of text, with the written bytes after it:
     create INODE PATH | mkdir INODE PATH | rename OLD<tab>NEW | unlink PATH
     write INODE OFFSET LENGTH | truncate INODE LENGTH | sync INODE
   Each record is one write with O_APPEND, after the call that it tells of has succeeded. A process
   that maps a file and writes there is not seen; SQLite maps its -shm alone, which is rebuilt. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int is_below(const char *path) {
  const char *of = getenv("COMITY_JOURNAL_OF");
  size_t n = of ? strlen(of) : 0;
  return n && strncmp(path, of, n) == 0 && (path[n] == '/' || path[n] == 0);
}

static void record(const void *bytes, size_t length, const char *format, ...) {
  static int journal = -1;
  char line[2 * PATH_MAX + 64];
  va_list words;
  va_start(words, format);
  int n = vsnprintf(line, sizeof line, format, words);
  va_end(words);
  if (journal < 0) journal = REAL(open)(getenv("COMITY_JOURNAL"), O_WRONLY | O_APPEND | O_CLOEXEC);
  struct iovec parts[2] = {{line, (size_t)n}, {(void *)bytes, length}};
  if (writev(journal, parts, 2) != n + (ssize_t)length) abort(); /* half a journal tells lies */
}

/* The inode of an open file below the directory; 0 for any other. */
static unsigned long seen(int fd, struct stat *st) {
  char link[64], path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t n = readlink(link, path, sizeof path - 1);
  if (n <= 0) return 0;
  path[n] = 0;
  if (!is_below(path) || fstat(fd, st) != 0) return 0;
  return st->st_ino;
}

static int opened(int at, const char *path, int flags, mode_t mode) {
  int was = faccessat(at, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
  int fd = REAL(openat)(at, path, flags, mode);
  struct stat st;
  unsigned long inode = fd >= 0 && (flags & (O_CREAT | O_TRUNC)) ? seen(fd, &st) : 0;
  if (inode && !was) record(0, 0, "create %lu %s\n", inode, path);
  else if (inode && (flags & O_TRUNC)) record(0, 0, "truncate %lu 0\n", inode);
  return fd;
}

#define OPEN(name)                                                     \
  int name(const char *path, int flags, ...) {                         \
    va_list rest; va_start(rest, flags);                               \
    mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;          \
    va_end(rest);                                                      \
    return opened(AT_FDCWD, path, flags, mode);                        \
  }
#define OPENAT(name)                                                   \
  int name(int at, const char *path, int flags, ...) {                 \
    va_list rest; va_start(rest, flags);                               \
    mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;          \
    va_end(rest);                                                      \
    return opened(at, path, flags, mode);                              \
  }
OPEN(open) OPEN(open64) OPENAT(openat64)

#define WRITE_AT(name, offset_t)                                       \
  ssize_t name(int fd, const void *bytes, size_t length, offset_t at) {\
    ssize_t done = REAL(name)(fd, bytes, length, at);                  \
    struct stat st;                                                    \
    unsigned long inode = done > 0 ? seen(fd, &st) : 0;                \
    if (inode) record(bytes, done, "write %lu %ld %ld\n", inode, (long)at, (long)done); \
    return done;                                                       \
  }
WRITE_AT(pwrite, off_t) WRITE_AT(pwrite64, off64_t)

ssize_t write(int fd, const void *bytes, size_t length) {
  ssize_t done = REAL(write)(fd, bytes, length);
  struct stat st;
  unsigned long inode = done > 0 ? seen(fd, &st) : 0;
  if (inode && S_ISREG(st.st_mode))
    record(bytes, done, "write %lu %ld %ld\n", inode, (long)(lseek(fd, 0, SEEK_CUR) - done), (long)done);
  return done;
}

#define ON_FD(name, signature, call, format, ...)                      \
  int name signature {                                                 \
    int failed = REAL(name) call;                                      \
    struct stat st;                                                    \
    unsigned long inode = failed ? 0 : seen(fd, &st);                  \
    if (inode) record(0, 0, format, inode, ##__VA_ARGS__);             \
    return failed;                                                     \
  }
ON_FD(ftruncate, (int fd, off_t size), (fd, size), "truncate %lu %ld\n", (long)size)
ON_FD(ftruncate64, (int fd, off64_t size), (fd, size), "truncate %lu %ld\n", (long)size)
ON_FD(fsync, (int fd), (fd), "sync %lu\n")
ON_FD(fdatasync, (int fd), (fd), "sync %lu\n")

int rename(const char *old, const char *new) {
  int failed = REAL(rename)(old, new);
  if (!failed && is_below(new)) record(0, 0, "rename %s\t%s\n", old, new);
  return failed;
}

int unlink(const char *path) {
  int failed = REAL(unlink)(path);
  if (!failed && is_below(path)) record(0, 0, "unlink %s\n", path);
  return failed;
}

int mkdir(const char *path, mode_t mode) {
  int failed = REAL(mkdir)(path, mode);
  struct stat st;
  if (!failed && is_below(path) && stat(path, &st) == 0) record(0, 0, "mkdir %lu %s\n", (unsigned long)st.st_ino, path);
  return failed;
}
