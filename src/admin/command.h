/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of commands, and what one command line becomes. Everything that knows the face of the tool (parser, help,
 * completions, synopses of the manuals) reads the table in table.c and nothing else. */
#ifndef VV_ADMIN_COMMAND_H
#define VV_ADMIN_COMMAND_H

#include <json-glib/json-glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "error.h"

/* What a word on the command line is, so how it is checked and which JSON it becomes. */
typedef enum {
    VV_VALUE_FLAG,     /* an option without value: true */
    VV_VALUE_TEXT,     /* string */
    VV_VALUE_SIZE,     /* integer, bytes */
    VV_VALUE_LUN_SIZE, /* the same, a multiple of a sector */
    VV_VALUE_RESIZE,   /* [+]SIZE: "size" or "grow_by" */
    VV_VALUE_COUNT,    /* integer > 0 */
    VV_VALUE_SECONDS,  /* number > 0, may have a fraction; not sent as such */
    VV_VALUE_LUN,      /* string, a LUN's name */
    VV_VALUE_SNAPSHOT, /* string, LUN@SNAP */
    VV_VALUE_PATTERN,  /* string, LUN@SNAP where SNAP may hold * ? [ ] */
    VV_VALUE_OBJECT,   /* string, LUN or LUN@SNAP */
    VV_VALUE_DISK,     /* string: name, UUID, or a path, which is made absolute */
    VV_VALUE_PATH,     /* string, made absolute */
    VV_VALUE_SETTING,  /* KEY=VALUE: a member of the object "settings" */
    VV_VALUE_JOB,      /* integer > 0 */
} VvValueType;

enum {
    VV_OPTIONAL = 1 << 0,
    VV_MANY = 1 << 1,        /* an array; an argument with it is the last */
    VV_COMMAS = 1 << 2,      /* an option whose value is a list A,B,... */
    VV_UNSUPPORTED = 1 << 3, /* reserved: refused, and not in any help */
};

typedef struct {
    const char *name;  /* as in the synopsis */
    const char *param; /* member of the params; NULL: the run function reads inv->words */
    VvValueType type;
    unsigned flags;
} VvArgument;

typedef struct {
    const char *name; /* without "--"; NULL: only a letter */
    char letter;      /* 0: none */
    const char *metavar;
    const char *param; /* member of the params; NULL: read by vv_option() */
    VvValueType type;
    unsigned flags;
    const char *help;
} VvOption;

/* How a JSON member is shown to people. */
typedef enum {
    VV_SHOW_TEXT,
    VV_SHOW_SIZE,
    VV_SHOW_COUNT,
    VV_SHOW_TIME,    /* read from KEY_ns */
    VV_SHOW_RATE,    /* bytes per second */
    VV_SHOW_SECONDS, /* a time span */
    VV_SHOW_KEEP,    /* "off" is shown as "-" */
} VvShowType;

typedef struct {
    const char *key; /* JSON key; the title is its capitals */
    VvShowType type;
    bool shown; /* without -o */
} VvColumn;

enum {
    VV_COMMAND_LOCAL = 1 << 0,      /* needs no daemon: CLI.md's circle */
    VV_COMMAND_CHANGES = 1 << 1,    /* takes --id */
    VV_COMMAND_DRY_RUN = 1 << 2,    /* takes --dry-run */
    VV_COMMAND_CONFIRMS = 1 << 3,   /* takes --yes */
    VV_COMMAND_LIST = 1 << 4,       /* items in a table: takes -o -H -b --sort --match */
    VV_COMMAND_SHOW = 1 << 5,       /* prints the result as KEY VALUE */
    VV_COMMAND_BACKGROUND = 1 << 6, /* may leave a job: waits for it unless --background */
    VV_COMMAND_SLOW = 1 << 7,       /* a look that may take long: no default time limit */
};

typedef struct VvInvocation VvInvocation;
typedef struct VvClient VvClient;
typedef struct VvPlace VvPlace;

#define VV_ARGUMENTS_MAX 4
#define VV_OPTIONS_MAX 10

typedef struct {
    const char *noun;
    const char *verb;   /* NULL: the noun is the whole command */
    const char *method; /* of the protocol; NULL: the run function knows */
    /* @ret_exit is 0 and may be set to 5; NULL: call the method and show the result as the flags say */
    bool (*run)(VvInvocation *inv, int *ret_exit, GError **error);
    unsigned flags;
    const VvColumn *columns;                /* of a list, or the types of what SHOW prints; ends with a NULL key */
    const char *help;                       /* one line, no full stop */
    const char *text;                       /* more, or NULL */
    const char *examples;                   /* lines, or NULL */
    VvArgument arguments[VV_ARGUMENTS_MAX]; /* ends with a NULL name or at the end */
    VvOption options[VV_OPTIONS_MAX];       /* ends with NULL name and letter 0, or at the end */
} VvCommand;

typedef struct {
    const char *noun;
    const char *verb; /* NULL: the whole noun */
} VvReserved;

typedef struct {
    const char *from;
    const char *to;
} VvWordPair;

extern const VvCommand vv_commands[]; /* ends with a NULL noun */
extern const VvOption vv_global_options[];
extern const VvOption vv_list_options[];       /* of commands with VV_COMMAND_LIST */
extern const VvOption vv_background_options[]; /* of commands with VV_COMMAND_BACKGROUND */
extern const VvReserved vv_reserved[];
extern const VvWordPair vv_aliases[];     /* the same word: ls rm mv snap */
extern const VvWordPair vv_short_forms[]; /* noun and verb: NOUN OBJECT KEY=VALUE is NOUN VERB OBJECT KEY=VALUE */
extern const VvWordPair vv_other_words[]; /* words other tools use: a hint, not an alias */
extern const VvWordPair vv_noun_help[];   /* a line for each noun */

typedef enum { VV_COLOR_AUTO, VV_COLOR_ALWAYS, VV_COLOR_NEVER } VvColor;

/* One command line, parsed. Strings are owned by @options or borrowed from argv. */
struct VvInvocation {
    const VvCommand *command;
    JsonObject *params;  /* built from the table; common params are added when a call is made */
    GHashTable *options; /* name (or letter) -> value, "" for a flag; all that were given */
    GPtrArray *words;    /* the arguments as typed, borrowed */
    bool json;
    bool quiet;
    bool yes;
    bool dry_run;
    bool background;
    bool help;
    VvColor color;
    const char *pool;    /* -p or $VVFS_POOL or NULL */
    const char *id;      /* or NULL */
    uint64_t timeout_ms; /* 0: the default of the kind of command */
    uint64_t started_ms; /* monotonic */
    VvPlace *place;      /* the pool chosen; made on first use */
    VvClient *client;    /* the same */
};

/* ---- parse.c */
/* Fills @inv from argv. On failure what was understood (json, quiet) is filled all the same.
 * Errors: VV_ERROR_USAGE, VV_ERROR_INVALID_NAME, VV_ERROR_UNSUPPORTED. */
bool vv_parse(VvInvocation *inv, int argc, char **argv, GError **error);
void vv_invocation_clear(VvInvocation *inv);
/* The value of an option, "" for a flag, NULL if it was not given. */
const char *vv_option(const VvInvocation *inv, const char *name);
/* @text in whole or fractional seconds, more than zero. */
bool vv_seconds_parse(const char *text, uint64_t *ret_ms, GError **error);

/* ---- help.c */
/* @verb NULL: the noun, or the command that has no verb. NULL if there is none. Aliases are known. */
const VvCommand *vv_command_lookup(const char *noun, const char *verb);
bool vv_noun_exists(const char *noun);
const char *vv_alias_resolve(const char *word);
/* "lun create", newly allocated. */
char *vv_command_name(const VvCommand *command);
/* "lun create NAME SIZE [KEY=VALUE...] [--copies N]", newly allocated. */
char *vv_command_synopsis(const VvCommand *command);
/* The options of a command: its own, then those of its kind. @index from 0; NULL at the end. Without those that are
 * not supported, unless @all. */
const VvOption *vv_command_option(const VvCommand *command, unsigned index, bool all);
/* Refuse a noun or a verb that the table does not have, with the best hint. */
void vv_set_error_unknown(GError **error, const char *noun, const char *verb);
bool vv_help_print(const VvInvocation *inv, const char *noun, const char *verb, GError **error);
bool vv_run_help(VvInvocation *inv, int *ret_exit, GError **error);

/* ---- help_json.c */
/* The table, or what it has of @noun, or of one command; both exist. NULL: all. */
void vv_help_print_json(const char *noun, const char *verb);

/* ---- complete.c */
bool vv_completion_print(const char *shell, GError **error);
/* For man/: one `.Nm` block for each command of @noun (NULL: all); @list: with descriptions, as a tagged list. */
void vv_mdoc_print(const char *noun, bool list);

#endif
