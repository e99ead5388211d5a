/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The command line, as people type it and as mount(8) passes it on. */
#include "options.h"

#include "error.h"
#include "limits.h"

#include <stdio.h>
#include <string.h>

#define WAIT_SECONDS 60u
#define SECONDS_MAX 86400u

/* Words of fstab and of mount helpers that change nothing here. */
static const char *const ignored[] = {
    "rw",
    "dev",
    "suid",
    "exec",
    "defaults",
    "auto",
    "noauto",
    "user",
    "nouser",
    "users",
    "group",
    "owner",
    "nofail",
    "_netdev",
    "atime",
    "diratime",
    "nodiratime",
    "relatime",
    "norelatime",
    "strictatime",
    "nostrictatime",
    "lazytime",
    "nolazytime",
    "async",
    "sync",
    "dirsync",
    "default_permissions",
    "nonempty",
    "allow_root",
    NULL,
};
static const char *const ignored_with_value[] = { "fsname", "subtype", "comment", "max_read", "max_background",
    "blksize", NULL };

void vv_options_help(void)
{
    printf("Usage: vvfs [-f] [-o OPTION[,OPTION...]] POOL MOUNTPOINT\n"
           "       vvfs [-f] [-o OPTION[,OPTION...]] --witness POOL\n"
           "       vvfs --upgrade MOUNTPOINT\n"
           "Mount the pool POOL: its LUNs are files in MOUNTPOINT/luns, its snapshots in MOUNTPOINT/snapshots.\n"
           "\n"
           "  -f                     stay in the foreground, log to stderr\n"
           "  -o OPTION[,OPTION...]  see below; `-` and `_` in names are the same\n"
           "  --witness              this node is a witness of POOL: it votes, and mounts nothing\n"
           "  --upgrade MOUNTPOINT   put this vvfs under a mount that another one serves; files stay open\n"
           "  -h, --help             this text\n"
           "  -V, --version          which vvfs this is\n"
           "\n"
           "Options:\n"
           "  ro                     nothing can be changed\n"
           "  allow_other            other users may use the mount, as its permissions say\n"
           "  uid=N gid=N mode=M     owner and permission bits of the directories\n"
           "  threads=N              threads that serve the mount, 1 to %u (one per processor)\n"
           "  ring                   FUSE over io_uring: faster, but the mount does not outlive a vvfs that dies\n"
           "  norestart              no second process that keeps the mount: if vvfs dies, the mount dies\n"
           "  stop-timeout=S         after SIGTERM: end after S seconds even if LUNs are open\n"
           "  wait=S                 how long to wait at the start for a quorum (%u)\n"
           "  metrics=ADDR:PORT      serve /metrics for Prometheus over HTTP\n"
           "  admin-group=GROUP      whose members may change things with vvfs-admin\n"
           "  log=LEVEL              error, warning, note, info or debug (note)\n"
           "  rw dev suid exec noexec nodev nosuid atime noatime nofail _netdev x-*   as for mount(8)\n"
           "\n"
           "See vvfs(8), vvfs-admin(8).\n",
        VV_WORKERS_MAX, WAIT_SECONDS);
}

void vv_options_clear(VvOptions *options)
{
    g_free(options->pool);
    g_free(options->mountpoint);
    g_free(options->offline);
    g_free(options->metrics);
    g_free(options->admin_group);
    g_free(options->serve);
    g_free(options->upgrade);
    g_strfreev(options->words);
}

static bool parse_number(const char *name, const char *value, unsigned base, uint64_t low, uint64_t high,
    uint64_t *ret_number, GError **error)
{
    guint64 number;

    if (!g_ascii_string_to_unsigned(value, base, low, high, &number, NULL)) {
        vv_set_error(error, VV_ERROR_USAGE, name, NULL,
            base == 8 ? "option %s=%s: permission bits are needed, such as 0750"
                      : "option %s=%s: a whole number is needed that is not too large",
            name, value);
        return false;
    }
    *ret_number = number;
    return true;
}

/* ---- options with a value */
static bool set_uid(VvOptions *o, const char *name, const char *value, GError **error)
{
    uint64_t number;

    if (!parse_number(name, value, 10, 0, G_MAXUINT32 - 1, &number, error))
        return false;
    o->uid = (uid_t) number;
    return o->have_uid = true;
}

static bool set_gid(VvOptions *o, const char *name, const char *value, GError **error)
{
    uint64_t number;

    if (!parse_number(name, value, 10, 0, G_MAXUINT32 - 1, &number, error))
        return false;
    o->gid = (gid_t) number;
    return o->have_gid = true;
}

static bool set_mode(VvOptions *o, const char *name, const char *value, GError **error)
{
    uint64_t number;

    if (!parse_number(name, value, 8, 0, 0777, &number, error))
        return false;
    o->mode = (uint32_t) number;
    return o->have_mode = true;
}

static bool set_threads(VvOptions *o, const char *name, const char *value, GError **error)
{
    uint64_t number;

    if (!parse_number(name, value, 10, 1, VV_WORKERS_MAX, &number, error))
        return false;
    o->threads = (unsigned) number;
    return true;
}

static bool set_stop_timeout(VvOptions *o, const char *name, const char *value, GError **error)
{
    uint64_t number;

    if (!parse_number(name, value, 10, 0, SECONDS_MAX, &number, error))
        return false;
    o->stop_timeout_s = (unsigned) number;
    return true;
}

static bool set_wait(VvOptions *o, const char *name, const char *value, GError **error)
{
    uint64_t number;

    if (!parse_number(name, value, 10, 0, SECONDS_MAX, &number, error))
        return false;
    o->wait_s = (unsigned) number;
    return true;
}

static bool set_metrics(VvOptions *o, const char *name, const char *value, GError **error)
{
    (void) name;
    (void) error;
    g_free(o->metrics);
    o->metrics = g_strdup(value);
    return true;
}

static bool set_admin_group(VvOptions *o, const char *name, const char *value, GError **error)
{
    (void) name;
    (void) error;
    g_free(o->admin_group);
    o->admin_group = g_strdup(value);
    return true;
}

static bool set_log(VvOptions *o, const char *name, const char *value, GError **error)
{
    if (vv_log_level_parse(value, &o->log_level))
        return true;
    vv_set_error(error, VV_ERROR_USAGE, name, NULL, "option log=%s: error, warning, note, info or debug", value);
    return false;
}

static const struct {
    const char *name; /* with '_' */
    bool (*set)(VvOptions *options, const char *name, const char *value, GError **error);
} with_value[] = {
    { "uid", set_uid },
    { "gid", set_gid },
    { "mode", set_mode },
    { "threads", set_threads },
    { "stop_timeout", set_stop_timeout },
    { "wait", set_wait },
    { "metrics", set_metrics },
    { "admin_group", set_admin_group },
    { "log", set_log },
};

/* ---- options without */
static const struct {
    const char *name;
    size_t offset; /* of a bool in VvOptions */
} flags[] = {
    { "ro", offsetof(VvOptions, read_only) },
    { "allow_other", offsetof(VvOptions, allow_other) },
    { "ring", offsetof(VvOptions, ring) },
    { "norestart", offsetof(VvOptions, norestart) },
    { "noatime", offsetof(VvOptions, noatime) },
    { "nodev", offsetof(VvOptions, nodev) },
    { "nosuid", offsetof(VvOptions, nosuid) },
    { "noexec", offsetof(VvOptions, noexec) },
};

static bool set_flag(VvOptions *options, const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(flags); i++)
        if (strcmp(flags[i].name, name) == 0)
            return *(bool *) ((char *) options + flags[i].offset) = true;
    /* The later word counts. */
    if (strcmp(name, "rw") == 0)
        options->read_only = false;
    else if (strcmp(name, "dev") == 0)
        options->nodev = false;
    else if (strcmp(name, "suid") == 0)
        options->nosuid = false;
    else if (strcmp(name, "exec") == 0)
        options->noexec = false;
    return g_strv_contains(ignored, name);
}

static bool set_option(VvOptions *options, const char *text, GError **error)
{
    const char *equals = strchr(text, '=');
    g_autofree char *name = equals ? g_strndup(text, (size_t) (equals - text)) : g_strdup(text);

    if (g_str_has_prefix(text, "x-") || g_str_has_prefix(text, "X-") || !*text)
        return true;
    g_strdelimit(name, "-", '_');
    if (!equals) {
        if (set_flag(options, name))
            return true;
        for (size_t i = 0; i < G_N_ELEMENTS(with_value); i++)
            if (strcmp(with_value[i].name, name) == 0) {
                vv_set_error(error, VV_ERROR_USAGE, name, NULL, "option %s needs a value: %s=...", text, text);
                return false;
            }
    } else {
        for (size_t i = 0; i < G_N_ELEMENTS(with_value); i++)
            if (strcmp(with_value[i].name, name) == 0)
                return with_value[i].set(options, name, equals + 1, error);
        if (g_strv_contains(ignored_with_value, name))
            return true;
    }
    vv_set_error(error, VV_ERROR_USAGE, name, "vvfs --help", "unknown option: -o %s", text);
    return false;
}

static bool set_options(VvOptions *options, const char *list, GError **error)
{
    g_auto(GStrv) words = g_strsplit(list, ",", -1);

    for (unsigned i = 0; words[i]; i++)
        if (!set_option(options, words[i], error))
            return false;
    return true;
}

/* ---- the line */
static bool set_word(VvOptions *options, const char *word, GError **error)
{
    if (!options->pool)
        options->pool = g_strdup(word);
    else if (!options->mountpoint)
        options->mountpoint = g_strdup(word);
    else {
        vv_set_error(error, VV_ERROR_USAGE, word, "vvfs --help", "%s: POOL and MOUNTPOINT are there already", word);
        return false;
    }
    return true;
}

/* One that begins with "--". *used: did it take @next? */
static bool set_long(VvOptions *options, const char *word, const char *next, bool *used, GError **error)
{
    if (strcmp(word, "--help") == 0)
        return options->help = true;
    if (strcmp(word, "--version") == 0)
        return options->version = true;
    if (strcmp(word, "--foreground") == 0)
        return options->foreground = true;
    if (strcmp(word, "--witness") == 0)
        return options->witness = true;
    if (strcmp(word, "--offline") == 0 && next) {
        g_free(options->offline);
        options->offline = g_strdup(next);
        return *used = true;
    }
    if (strcmp(word, "--upgrade") == 0 && next) {
        g_free(options->upgrade);
        options->upgrade = g_strdup(next);
        return *used = true;
    }
    if (g_str_has_prefix(word, "--serve=")) {
        g_free(options->serve);
        options->serve = g_strdup(word + strlen("--serve="));
        return true;
    }
    if (strcmp(word, "--upgrade") == 0)
        vv_set_error(error, VV_ERROR_USAGE, word, "vvfs --help", "--upgrade needs a mount point");
    else
        vv_set_error(error, VV_ERROR_USAGE, word, "vvfs --help", "unknown option: %s", word);
    return false;
}

/* A word of letters, such as "-fo". */
static bool set_letters(VvOptions *options, const char *word, const char *next, bool *used, GError **error)
{
    for (const char *c = word + 1; *c; c++) {
        switch (*c) {
        case 'f':
            options->foreground = true;
            break;
        case 'h':
            options->help = true;
            break;
        case 'V':
            options->version = true;
            break;
        case 'n': /* mount(8): do not write mtab */
        case 's': /* sloppy */
        case 'v':
            break;
        case 'o':
            if (c[1])
                return set_options(options, c + 1, error);
            if (next) {
                *used = true;
                return set_options(options, next, error);
            }
            vv_set_error(error, VV_ERROR_USAGE, "-o", "vvfs --help", "-o needs a list of options");
            return false;
        default:
            vv_set_error(error, VV_ERROR_USAGE, word, "vvfs --help", "unknown option: -%c", *c);
            return false;
        }
    }
    return true;
}

/* What a witness can be told. */
static bool check_witness(const VvOptions *options, GError **error)
{
    if (options->mountpoint || !options->pool)
        vv_set_error(error, VV_ERROR_USAGE, options->mountpoint, "vvfs --help",
            options->pool ? "%s: a witness has no mount: --witness takes POOL alone" : "POOL is missing%s", options->pool ? options->mountpoint : "");
    else if (options->read_only)
        vv_set_error(error, VV_ERROR_USAGE, "ro", "vvfs --help", "a witness votes, so its pool directory cannot be read-only");
    else
        return true;
    return false;
}

bool vv_options_parse(int argc, char **argv, VvOptions *ret_options, GError **error)
{
    g_autoptr(GPtrArray) words = g_ptr_array_new();
    bool only_words = false, good = true;

    *ret_options = (VvOptions){ .wait_s = WAIT_SECONDS, .log_level = VV_LOG_NOTE };
    for (int i = 1; good && i < argc; i++) {
        const char *next = i + 1 < argc ? argv[i + 1] : NULL;
        bool used = false, option = false;

        if (!only_words && strcmp(argv[i], "--") == 0) {
            only_words = true;
            continue;
        }
        if (only_words || argv[i][0] != '-' || !argv[i][1])
            good = set_word(ret_options, argv[i], error);
        else if ((option = argv[i][1] == '-'))
            good = set_long(ret_options, argv[i], next, &used, error);
        else if ((option = true))
            good = set_letters(ret_options, argv[i], next, &used, error);
        for (int k = 0; option && k <= used; k++)
            g_ptr_array_add(words, g_strdup(argv[i + k]));
        i += used;
    }
    g_ptr_array_add(words, NULL);
    ret_options->words = (char **) g_ptr_array_free(g_steal_pointer(&words), FALSE);
    if (!good)
        return false;
    if (ret_options->witness && !ret_options->help && !ret_options->version && !ret_options->offline && !ret_options->upgrade)
        return check_witness(ret_options, error);
    if (ret_options->help || ret_options->version || ret_options->offline ||
        (ret_options->mountpoint && !ret_options->upgrade))
        return true;
    if (ret_options->upgrade && !ret_options->pool)
        return true;
    if (ret_options->upgrade) {
        vv_set_error(error, VV_ERROR_USAGE, ret_options->pool, "vvfs --help",
            "%s: --upgrade takes a mount point and nothing else", ret_options->pool);
        return false;
    }
    vv_set_error(error, VV_ERROR_USAGE, NULL, "vvfs --help",
        ret_options->pool ? "where to? MOUNTPOINT is missing" : "POOL and MOUNTPOINT are missing");
    return false;
}
