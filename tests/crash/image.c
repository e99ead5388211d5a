/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image.h"

#include "limits.h"
#include "recorder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE_BYTES 4096u
#define FILE_BYTES_MAX (64u << 20) /* address space */
#define PAGES_MAX (FILE_BYTES_MAX / PAGE_BYTES)
#define GARBAGE 0xdb

/* The base has bytes there; durable is not the base; the folder is not durable. */
enum { MOVED = 1, FOREIGN = 2, BASED = 4 };

typedef struct {
    int fd; /* of its own name outside the pool; -1: not there yet */
    bool in_base;
    uint64_t base_size, size;
    uint8_t *base, *durable; /* FILE_BYTES_MAX; zero behind the size */
    uint8_t *flags;          /* of each page */
    GArray *moved, *foreign; /* uint32_t: pages with that flag */
} ImageFile;

typedef struct {
    unsigned count;
    struct {
        char name[NAME_BYTES_MAX];
        uint32_t file;
    } names[FILES_MAX];
} Names;

struct Image {
    char *folder, *pool;
    ImageFile files[FILES_MAX];
    uint32_t base_files;
    Names base_names, names;
};

static const char *const folders[] = { "", "journal", "map" };

/* ---- names */

static int find_name(const Names *names, const char *name)
{
    for (unsigned i = 0; i < names->count; i++)
        if (strcmp(names->names[i].name, name) == 0)
            return (int) i;
    return -1;
}

static void set_name(Names *names, const char *name, uint32_t file)
{
    int at = find_name(names, name);

    if (at < 0) {
        g_assert(names->count < FILES_MAX);
        at = (int) names->count++;
    }
    g_strlcpy(names->names[at].name, name, NAME_BYTES_MAX);
    names->names[at].file = file;
}

static uint32_t drop_name(Names *names, const char *name)
{
    int at = find_name(names, name);
    uint32_t file = NO_FILE;

    if (at >= 0) {
        file = names->names[at].file;
        names->names[at] = names->names[--names->count];
    }
    return file;
}

static void apply_name(Names *names, const Event *event)
{
    const char *name = (const char *) event->data;
    uint32_t file;

    if (event->kind == EV_CREATE) {
        set_name(names, name, event->file);
    } else if (event->kind == EV_UNLINK) {
        (void) drop_name(names, name);
    } else {
        file = drop_name(names, name);
        if (file != NO_FILE)
            set_name(names, name + strlen(name) + 1, file);
    }
}

static bool is_name_event(const Event *event)
{
    return event->kind == EV_CREATE || event->kind == EV_RENAME || event->kind == EV_UNLINK;
}

bool image_sync_covers(const Event *sync, const Event *event)
{
    const char *name = (const char *) event->data, *folder = (const char *) sync->data, *slash;

    if (sync->kind != EV_SYNC_FOLDER)
        return !is_name_event(event) && event->file == sync->file;
    if (!is_name_event(event))
        return false;
    slash = strrchr(name, '/');
    return slash ? strlen(folder) == (size_t) (slash - name) && strncmp(folder, name, strlen(folder)) == 0 : !*folder;
}

/* ---- pages */

static uint8_t *map_bytes(size_t bytes)
{
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    g_assert(at != MAP_FAILED);
    return at;
}

static void tell_recorder_of(const ImageFile *file, uint32_t number)
{
    struct stat st;

    g_assert(fstat(file->fd, &st) == 0);
    recorder_know_file(st.st_ino, number);
}

static ImageFile *get_file(Image *image, uint32_t number)
{
    ImageFile *file = &image->files[number];
    g_autofree char *name = NULL;

    g_assert(number < FILES_MAX);
    if (!file->base) {
        file->base = map_bytes(FILE_BYTES_MAX);
        file->durable = map_bytes(FILE_BYTES_MAX);
        file->flags = g_malloc0(PAGES_MAX);
        file->moved = g_array_new(FALSE, FALSE, sizeof(uint32_t));
        file->foreign = g_array_new(FALSE, FALSE, sizeof(uint32_t));
    }
    if (file->fd < 0) {
        name = g_strdup_printf("%s/files/%u", image->folder, number);
        file->fd = (int) syscall(SYS_openat, AT_FDCWD, name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        g_assert(file->fd >= 0);
        tell_recorder_of(file, number);
    }
    return file;
}

static void flag_pages(ImageFile *file, uint8_t flag, uint64_t offset, uint64_t length)
{
    GArray *list = flag == MOVED ? file->moved : file->foreign;

    for (uint32_t page = (uint32_t) (offset / PAGE_BYTES); length > 0 && page <= (offset + length - 1) / PAGE_BYTES;
         page++) {
        g_assert(page < PAGES_MAX);
        if (!(file->flags[page] & flag))
            g_array_append_val(list, page);
        file->flags[page] |= flag;
    }
}

static void note_based(ImageFile *file, uint64_t offset, uint64_t length)
{
    for (uint64_t page = offset / PAGE_BYTES; length > 0 && page <= (offset + length - 1) / PAGE_BYTES; page++)
        file->flags[page] |= BASED;
}

static void put(const ImageFile *file, const uint8_t *data, uint64_t length, uint64_t offset)
{
    while (length > 0) {
        long done = syscall(SYS_pwrite64, file->fd, data, length, offset);

        g_assert(done > 0);
        data += done;
        offset += (uint64_t) done;
        length -= (uint64_t) done;
    }
}

static uint64_t real_size(const ImageFile *file)
{
    struct stat st;

    g_assert(fstat(file->fd, &st) == 0);
    return (uint64_t) st.st_size;
}

static void set_real_size(const ImageFile *file, uint64_t size)
{
    if (real_size(file) != size)
        g_assert(syscall(SYS_ftruncate, file->fd, size) == 0);
}

/* The folder's file becomes what is durable. */
static void put_back(ImageFile *file)
{
    for (guint i = 0; i < file->foreign->len; i++) {
        uint32_t page = g_array_index(file->foreign, uint32_t, i);

        put(file, file->durable + (uint64_t) page * PAGE_BYTES, PAGE_BYTES, (uint64_t) page * PAGE_BYTES);
        file->flags[page] &= (uint8_t) ~FOREIGN;
    }
    g_array_set_size(file->foreign, 0);
    set_real_size(file, file->size);
}

/* ---- the base */

Image *image_new(const char *folder)
{
    Image *image = g_new0(Image, 1);
    g_autofree char *files = g_strdup_printf("%s/files", folder);

    image->folder = g_strdup(folder);
    image->pool = g_strdup_printf("%s/pool", folder);
    for (unsigned i = 0; i < FILES_MAX; i++)
        image->files[i].fd = -1;
    g_assert(mkdir(files, 0700) == 0);
    return image;
}

static void forget_file(Image *image, uint32_t number)
{
    ImageFile *file = &image->files[number];
    g_autofree char *name = g_strdup_printf("%s/files/%u", image->folder, number);

    if (file->fd >= 0) {
        close(file->fd);
        (void) syscall(SYS_unlinkat, AT_FDCWD, name, 0);
    }
    file->fd = -1;
    if (!file->base)
        return;
    munmap(file->base, FILE_BYTES_MAX);
    munmap(file->durable, FILE_BYTES_MAX);
    g_free(file->flags);
    g_array_unref(file->moved);
    g_array_unref(file->foreign);
    *file = (ImageFile){ .fd = -1 };
}

void image_free(Image *image)
{
    g_autofree char *files = g_strdup_printf("%s/files", image->folder);

    for (uint32_t i = 0; i < FILES_MAX; i++)
        forget_file(image, i);
    rmdir(files);
    g_free(image->folder);
    g_free(image->pool);
    g_free(image);
}

const char *image_pool(const Image *image)
{
    return image->pool;
}

static void read_base(ImageFile *file)
{
    file->base_size = real_size(file);
    g_assert(file->base_size <= FILE_BYTES_MAX);
    for (off_t at = 0; (at = lseek(file->fd, at, SEEK_DATA)) >= 0;) {
        off_t end = lseek(file->fd, at, SEEK_HOLE);

        while (at < end) {
            ssize_t got = pread(file->fd, file->base + at, (size_t) (end - at), at);

            g_assert(got > 0);
            memcpy(file->durable + at, file->base + at, (size_t) got);
            note_based(file, (uint64_t) at, (uint64_t) got);
            at += got;
        }
    }
}

static void begin_file(Image *image, uint32_t number, uint64_t size)
{
    ImageFile *file = &image->files[number];

    file->in_base = true;
    file->base_size = file->size = size;
}

/* Calls @each for all regular files of the pool but LMDB's lock file. */
static void each_name(Image *image, void (*each)(Image *image, const char *name, const char *path))
{
    for (unsigned i = 0; i < G_N_ELEMENTS(folders); i++) {
        g_autofree char *folder = g_strdup_printf("%s/%s", image->pool, folders[i]);
        DIR *dir = opendir(folder);
        struct dirent *entry;

        g_assert(dir != NULL);
        while ((entry = readdir(dir)) != NULL) {
            g_autofree char *path = g_strdup_printf("%s/%s", folder, entry->d_name);
            g_autofree char *name = g_strdup_printf("%s%s%s", folders[i], folders[i][0] ? "/" : "", entry->d_name);

            if (entry->d_type == DT_REG)
                each(image, name, path);
        }
        closedir(dir);
    }
}

static void take_file(Image *image, const char *name, const char *path)
{
    uint32_t number = image->base_files;
    g_autofree char *own = g_strdup_printf("%s/files/%u", image->folder, number);
    ImageFile *file;

    if (strcmp(name, "map/lock.mdb") == 0)
        return;
    g_assert(number < FILES_MAX && link(path, own) == 0);
    file = get_file(image, number);
    read_base(file);
    begin_file(image, number, file->base_size);
    set_name(&image->base_names, name, number);
    image->base_files++;
}

static void forget_base(Image *image)
{
    for (uint32_t i = 0; i < FILES_MAX; i++)
        forget_file(image, i);
    image->base_files = 0;
    image->base_names.count = 0;
}

static void tell_recorder(Image *image)
{
    recorder_forget_files();
    for (uint32_t i = 0; i < FILES_MAX; i++)
        if (image->files[i].fd >= 0)
            tell_recorder_of(&image->files[i], i);
    recorder_next_file(image->base_files);
}

void image_take(Image *image)
{
    forget_base(image);
    each_name(image, take_file);
    image->names = image->base_names;
    tell_recorder(image);
}

static void load_data(ImageFile *file, const Event *event)
{
    memcpy(file->base + event->offset, event->data, event->data_bytes);
    memcpy(file->durable + event->offset, event->data, event->data_bytes);
    flag_pages(file, FOREIGN, event->offset, event->data_bytes);
    note_based(file, event->offset, event->data_bytes);
}

bool image_load(Image *image, const Log *base)
{
    const Event *event;

    forget_base(image);
    for (uint64_t at = 0; (event = log_at(base, at)); at = log_behind(at, event)) {
        if (event->kind != EV_FILE && event->kind != EV_NAME && event->kind != EV_DATA)
            continue;
        if (event->file >= FILES_MAX || event->length > FILE_BYTES_MAX || event->data_bytes > FILE_BYTES_MAX ||
            event->offset > FILE_BYTES_MAX - event->data_bytes ||
            (event->kind == EV_NAME && (event->data_bytes == 0 || event->data_bytes > NAME_BYTES_MAX)))
            return false;
        ImageFile *file = get_file(image, event->file);

        if (event->kind == EV_FILE)
            file->base_size = event->length;
        else if (event->kind == EV_NAME)
            set_name(&image->base_names, (const char *) event->data, event->file);
        else
            load_data(file, event);
        image->base_files = MAX(image->base_files, event->file + 1);
    }
    for (uint32_t i = 0; i < image->base_files; i++) {
        ImageFile *file = get_file(image, i);

        begin_file(image, i, file->base_size);
    }
    image->names = image->base_names;
    return true;
}

void image_store(const Image *image, Log *base)
{
    for (uint32_t i = 0; i < image->base_files; i++) {
        const ImageFile *file = &image->files[i];

        log_add(base, EV_FILE, i, NULL, 0)->length = file->base_size;
        for (uint64_t at = 0; at < file->base_size; at += PAGE_BYTES) {
            const uint8_t *page = file->base + at;

            if (page[0] != 0 || memcmp(page, page + 1, PAGE_BYTES - 1) != 0)
                log_add(base, EV_DATA, i, page, MIN(PAGE_BYTES, file->base_size - at))->offset = at;
        }
    }
    for (unsigned i = 0; i < image->base_names.count; i++)
        log_add(base, EV_NAME, image->base_names.names[i].file, image->base_names.names[i].name,
            strlen(image->base_names.names[i].name) + 1);
}

void image_rewind(Image *image)
{
    for (uint32_t number = 0; number < FILES_MAX; number++) {
        ImageFile *file = &image->files[number];

        if (!file->base)
            continue;
        for (guint i = 0; i < file->moved->len; i++) {
            uint32_t page = g_array_index(file->moved, uint32_t, i);
            uint64_t at = (uint64_t) page * PAGE_BYTES;

            memcpy(file->durable + at, file->base + at, PAGE_BYTES);
            file->flags[page] &= (uint8_t) ~MOVED;
            flag_pages(file, FOREIGN, at, PAGE_BYTES);
        }
        g_array_set_size(file->moved, 0);
        file->size = file->base_size;
    }
    image->names = image->base_names;
    tell_recorder(image);
}

/* ---- events */

static void settle_size(ImageFile *file, uint64_t size)
{
    if (size < file->size) {
        flag_pages(file, MOVED, size, file->size - size);
        flag_pages(file, FOREIGN, size, file->size - size);
        memset(file->durable + size, 0, file->size - size);
    }
    file->size = size;
}

void image_settle(Image *image, const Event *event)
{
    ImageFile *file;

    if (is_name_event(event)) {
        apply_name(&image->names, event);
        return;
    }
    file = get_file(image, event->file);
    if (event->kind == EV_SIZE) {
        settle_size(file, event->size);
        return;
    }
    g_assert(event->offset + event->length <= FILE_BYTES_MAX);
    flag_pages(file, MOVED, event->offset, event->length);
    flag_pages(file, FOREIGN, event->offset, event->length);
    if (event->kind == EV_PUNCH)
        memset(file->durable + event->offset, GARBAGE, event->length);
    else
        memcpy(file->durable + event->offset, event->data, event->length);
    file->size = MAX(file->size, event->size);
}

static bool reaches(Choice choice, uint64_t sector)
{
    switch (choice.how) {
    case REACH_NONE:
        return false;
    case REACH_ALL:
        return true;
    case REACH_HEAD:
        return sector < choice.number;
    case REACH_TAIL:
        return sector >= choice.number;
    default:
        return (((sector + 1) * 2654435761u ^ choice.number) * UINT64_C(0x9e3779b97f4a7c15)) >> 63;
    }
}

/* Sectors [@from, +*ret_count) share one fate. */
static bool next_run(const Event *event, Choice choice, uint64_t from, uint64_t *ret_count)
{
    uint64_t all = event->length / VV_SECTOR_BYTES, end = from + 1;
    bool reached = reaches(choice, from);

    while (end < all && reaches(choice, end) == reached)
        end++;
    *ret_count = end - from;
    return reached;
}

/* One event on the folder's files; *@size is the file's. */
static void put_event(ImageFile *file, const Event *event, Choice choice, uint64_t *size)
{
    static const uint8_t garbage[64 << 10] = { [0 ...(64 << 10) - 1] = GARBAGE };
    uint64_t count;

    if (event->kind == EV_SIZE) {
        if (choice.how != REACH_NONE) {
            set_real_size(file, event->size);
            flag_pages(file, FOREIGN, event->size, MAX(*size, event->size) - event->size);
            *size = event->size;
        }
        return;
    }
    for (uint64_t sector = 0; sector < event->length / VV_SECTOR_BYTES; sector += count) {
        bool reached = next_run(event, choice, sector, &count);
        uint64_t from = sector * VV_SECTOR_BYTES, at = event->offset + from, bytes = count * VV_SECTOR_BYTES;

        if (!reached)
            continue;
        flag_pages(file, FOREIGN, at, bytes);
        for (uint64_t done = 0; event->kind == EV_PUNCH && done < bytes; done += sizeof garbage)
            put(file, garbage, MIN(bytes - done, sizeof garbage), at + done);
        if (event->kind != EV_PUNCH) {
            put(file, event->data + from, bytes, at);
            *size = MAX(*size, MIN(at + bytes, event->size));
        }
    }
}

/* After a power failure the mark of a pool in use is the very file that was made. Here it would be another one, as in a copy (serving.h). */
static void drop_mark(const Image *image)
{
    g_autofree char *path = g_strdup_printf("%s/in-use", image->pool);

    (void) syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}

static void fix_names(Image *image, const Names *names, bool garbage_locks);

void image_build(Image *image, const Event *const *events, const Choice *choices, unsigned count, bool garbage_locks)
{
    Names names = image->names;
    uint64_t sizes[FILES_MAX];

    for (uint32_t i = 0; i < FILES_MAX; i++)
        if (image->files[i].base)
            put_back(get_file(image, i));
    for (uint32_t i = 0; i < FILES_MAX; i++)
        sizes[i] = image->files[i].size;
    for (unsigned i = 0; i < count; i++) {
        const Event *event = events[i];

        if (!is_name_event(event))
            put_event(get_file(image, event->file), event, choices[i], &sizes[event->file]);
        else if (choices[i].how != REACH_NONE)
            apply_name(&names, event);
    }
    for (uint32_t i = 0; i < FILES_MAX; i++)
        if (image->files[i].base)
            set_real_size(&image->files[i], sizes[i]);
    fix_names(image, &names, garbage_locks);
}

/* ---- the folder's names */

static void drop_wrong(Image *image, const Names *names, const char *name, const char *path)
{
    int at = find_name(names, name);
    struct stat st, own;

    if (at >= 0) {
        g_assert(stat(path, &st) == 0 && fstat(get_file(image, names->names[at].file)->fd, &own) == 0);
        if (st.st_ino == own.st_ino)
            return;
    }
    g_assert(syscall(SYS_unlinkat, AT_FDCWD, path, 0) == 0);
}

static const Names *wanted_names; /* for the callback */

static void drop_wrong_cb(Image *image, const char *name, const char *path)
{
    drop_wrong(image, wanted_names, name, path);
}

static void put_garbage_lock(const Image *image)
{
    g_autofree char *path = g_strdup_printf("%s/map/lock.mdb", image->pool);
    uint8_t garbage[8192];
    int fd = (int) syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    memset(garbage, GARBAGE, sizeof garbage);
    g_assert(fd >= 0 && syscall(SYS_pwrite64, fd, garbage, sizeof garbage, 0) == sizeof garbage);
    close(fd);
}

static void fix_names(Image *image, const Names *names, bool garbage_locks)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(folders); i++) {
        g_autofree char *folder = g_strdup_printf("%s/%s", image->pool, folders[i]);

        if (mkdir(folder, 0700) != 0)
            g_assert(errno == EEXIST);
    }
    wanted_names = names;
    each_name(image, drop_wrong_cb);
    for (unsigned i = 0; i < names->count; i++) {
        g_autofree char *path = g_strdup_printf("%s/%s", image->pool, names->names[i].name);
        g_autofree char *own = g_strdup_printf("%s/files/%u", image->folder, names->names[i].file);

        (void) get_file(image, names->names[i].file);
        if (link(own, path) != 0)
            g_assert(errno == EEXIST);
    }
    drop_mark(image);
    if (garbage_locks)
        put_garbage_lock(image);
}

void image_note_written(Image *image, const Log *log)
{
    const Event *event;

    for (uint64_t at = 0; (event = log_at(log, at)); at = log_behind(at, event)) {
        bool writes = event->kind == EV_WRITE || event->kind == EV_WRITE_SYNCED || event->kind == EV_PUNCH;

        if (writes && image->files[event->file].fd >= 0)
            flag_pages(&image->files[event->file], FOREIGN, event->offset, event->length);
        else if (event->kind == EV_SIZE && event->size < image->files[event->file].size &&
                 image->files[event->file].fd >= 0)
            flag_pages(&image->files[event->file], FOREIGN, event->size, image->files[event->file].size - event->size);
    }
}

/* ---- comparing */

uint64_t image_fingerprint(const Image *image, const Event *const *events, const Choice *choices, unsigned count)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < count; i++) {
        const Event *event = events[i];
        const ImageFile *file = event->file < FILES_MAX ? &image->files[event->file] : NULL;
        bool writes = event->kind == EV_WRITE || event->kind == EV_WRITE_SYNCED;

        if (!writes) {
            sum = (sum ^ (choices[i].how != REACH_NONE)) * UINT64_C(0x9e3779b97f4a7c15) + i;
            continue;
        }
        for (uint64_t sector = 0; sector < event->length / VV_SECTOR_BYTES; sector++) {
            uint64_t at = event->offset + sector * VV_SECTOR_BYTES;
            bool same = file->durable && at + VV_SECTOR_BYTES <= file->size &&
                        memcmp(file->durable + at, event->data + sector * VV_SECTOR_BYTES, VV_SECTOR_BYTES) == 0;

            sum = (sum ^ (!same && reaches(choices[i], sector))) * UINT64_C(0x9e3779b97f4a7c15) + 1;
        }
    }
    return sum;
}

static char **mismatch; /* for the callback */
static unsigned matched;

/* The page of @file at @at is @real, save where it may hold anything. */
static bool page_matches(const ImageFile *file, uint64_t at, const uint8_t *real)
{
    const uint8_t *durable = file->durable + at;
    uint64_t bytes = MIN(PAGE_BYTES, file->size - at);

    if (memcmp(durable, real, bytes) == 0)
        return true;
    for (uint64_t i = 0; i < bytes; i++)
        if (durable[i] != real[i] && durable[i] != GARBAGE)
            return false;
    return true;
}

static void match_bytes(const ImageFile *file, int fd, const char *name)
{
    uint8_t page[PAGE_BYTES];
    off_t data = 0;

    for (uint64_t at = 0; at < file->size && !*mismatch; at += PAGE_BYTES) {
        if (data >= 0 && (uint64_t) data <= at) {
            data = lseek(fd, (off_t) at, SEEK_DATA); /* -1: holes to the end */
            if (data >= 0 && (uint64_t) data < at + PAGE_BYTES)
                data = (off_t) at;
        }
        if (data != (off_t) at && !(file->flags[at / PAGE_BYTES] & (BASED | MOVED)))
            continue; /* nothing here, nothing there */
        memset(page, 0, sizeof page);
        if (data == (off_t) at)
            g_assert(pread(fd, page, sizeof page, (off_t) at) > 0);
        if (!page_matches(file, at, page))
            *mismatch = g_strdup_printf("%s differs from the log in the page at %" G_GUINT64_FORMAT, name, at);
    }
}

static void match_file(Image *image, const char *name, const char *path)
{
    int at = find_name(&image->names, name), fd;
    struct stat st;

    if (*mismatch || strcmp(name, "map/lock.mdb") == 0)
        return;
    matched++;
    if (at < 0) {
        *mismatch = g_strdup_printf("%s is not in the log", name);
        return;
    }
    const ImageFile *file = get_file(image, image->names.names[at].file);

    fd = (int) syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    g_assert(fd >= 0 && fstat(fd, &st) == 0);
    if ((uint64_t) st.st_size != file->size)
        *mismatch = g_strdup_printf(
            "%s has %" G_GINT64_FORMAT " bytes, in the log %" G_GUINT64_FORMAT, name, (gint64) st.st_size, file->size);
    match_bytes(file, fd, name);
    close(fd);
}

bool image_matches_folder(Image *image, char **ret_why)
{
    *ret_why = NULL;
    mismatch = ret_why;
    matched = 0;
    each_name(image, match_file);
    if (!*ret_why && matched != image->names.count)
        *ret_why = g_strdup("a name of the log is not in the folder");
    return *ret_why == NULL;
}
