/* Preloaded: notes in the file DISK_LOG what a process does to the files of the folder DISK_FOLDER, in its order. A note is
   a letter, four numbers of eight bytes (length of the path, offset, size, unused), the path and the data. DISK_DELAY
   makes each fsync take so many milliseconds. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;

static void note_path(char kind, const char *path, off_t offset, const void *data, size_t size)
{
    const char *folder = getenv("DISK_FOLDER"), *log = getenv("DISK_LOG");
    if (!folder || !log || strncmp(path, folder, strlen(folder)))
        return;
    uint64_t numbers[4] = {strlen(path), (uint64_t)offset, size, 0};
    struct iovec parts[4] = {
        {&kind, 1}, {numbers, sizeof numbers}, {(void *)path, strlen(path)}, {(void *)data, data ? size : 0}};
    pthread_mutex_lock(&guard);
    int fd = open(log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    syscall(SYS_writev, fd, parts, 4);
    close(fd);
    pthread_mutex_unlock(&guard);
}

static void note(char kind, int fd, off_t offset, const void *data, size_t size)
{
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return;
    path[length] = 0;
    note_path(kind, path, offset, data, size);
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *data, size_t size)
{
    off_t offset = lseek(fd, 0, SEEK_CUR);
    ssize_t written = NEXT(write)(fd, data, size);
    if (written > 0 && offset >= 0)
        note('W', fd, offset, data, written);
    return written;
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset)
{
    ssize_t written = NEXT(pwrite64)(fd, data, size, offset);
    if (written > 0)
        note('W', fd, offset, data, written);
    return written;
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) { return pwrite64(fd, data, size, offset); }

int ftruncate64(int fd, off64_t size)
{
    int failed = NEXT(ftruncate64)(fd, size);
    if (!failed)
        note('T', fd, size, NULL, 0);
    return failed;
}

int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

int unlink(const char *path)
{
    int failed = NEXT(unlink)(path);
    if (!failed)
        note_path('U', path, 0, NULL, 0);
    return failed;
}

static void synced(int fd)
{
    const char *delay = getenv("DISK_DELAY");
    if (delay)
        usleep(1000 * atoi(delay));
    note('S', fd, 0, NULL, 0);
}

int fsync(int fd)
{
    synced(fd);
    return 0;
}

int fdatasync(int fd)
{
    synced(fd);
    return 0;
}
