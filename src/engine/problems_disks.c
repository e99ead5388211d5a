/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Disks that were chosen for LUNs and are full: the pool has space, but none for these. One problem for each choice of disks. And what
 * was found damaged on disks. */
#include "problems.h"

#include "damage.h"
#include "pool_private.h"
#include "transaction.h"

#define NAMES_TOLD 3u
#define FIXES_TOLD 3u

/* LUNs for which the same disks were chosen. */
typedef struct {
    VvDiskSet *set;
    GPtrArray *disks, *luns; /* names */
} Choice;

static void choice_free(void *data)
{
    Choice *choice = data;

    g_free(choice->set);
    g_ptr_array_unref(choice->disks);
    g_ptr_array_unref(choice->luns);
    g_free(choice);
}

/* Nothing is free on its disks, and it has nothing left of what it was granted. Read lock held. */
static bool is_out_of_space(const VvMeta *meta, const VvFamily *family)
{
    if (!family->disks || family->held_blocks >= VV_REGION_BLOCKS)
        return false;
    for (unsigned i = 0; i < family->disks->count; i++)
        if (vv_meta_disk(meta, family->disks->ids[i])->free_unit_count > 0)
            return false;
    return true;
}

/* The choice of @set, made if it is new. Read lock held. */
static Choice *choice_of(const VvMeta *meta, GPtrArray *choices, const VvDiskSet *set)
{
    Choice *choice;

    for (unsigned i = 0; i < choices->len; i++) {
        choice = g_ptr_array_index(choices, i);
        if (vv_disk_set_equal(choice->set, set))
            return choice;
    }
    choice = g_new0(Choice, 1);
    choice->set = vv_disk_set_copy(set);
    choice->disks = g_ptr_array_new_with_free_func(g_free);
    choice->luns = g_ptr_array_new_with_free_func(g_free);
    for (unsigned i = 0; i < set->count; i++)
        g_ptr_array_add(choice->disks, g_strdup(vv_meta_disk(meta, set->ids[i])->name));
    g_ptr_array_add(choices, choice);
    return choice;
}

static GPtrArray *full_choices(VvPool *pool)
{
    GPtrArray *choices = g_ptr_array_new_with_free_func(choice_free);
    VV_META_READ(pool->meta);
    GPtrArray *luns = vv_meta_luns(pool->meta);

    for (unsigned i = 0; i < luns->len; i++) {
        const VvLun *lun = g_ptr_array_index(luns, i);
        const VvBranch *branch = vv_meta_branch(pool->meta, lun->branch);
        const VvFamily *family = vv_meta_family(pool->meta, branch->family);

        if (is_out_of_space(pool->meta, family))
            g_ptr_array_add(choice_of(pool->meta, choices, family->disks)->luns, g_strdup(lun->name));
    }
    return choices;
}

/* "db, web and 3 more". */
static char *names_text(const GPtrArray *names)
{
    GString *text = g_string_new(NULL);

    for (unsigned i = 0; i < names->len && i < NAMES_TOLD; i++)
        g_string_append_printf(text, "%s%s", i > 0 ? ", " : "", (const char *) g_ptr_array_index(names, i));
    if (names->len > NAMES_TOLD)
        g_string_append_printf(text, " and %u more", names->len - NAMES_TOLD);
    return g_string_free(text, FALSE);
}

void vv_look_at_chosen_disks(VvPool *pool, GPtrArray *problems)
{
    g_autoptr(GPtrArray) choices = full_choices(pool);

    for (unsigned i = 0; i < choices->len; i++) {
        const Choice *choice = g_ptr_array_index(choices, i);
        g_autoptr(GPtrArray) fixes = vv_fixes_new();
        g_autofree char *disks = names_text(choice->disks), *luns = names_text(choice->luns);
        bool one = choice->disks->len == 1;

        vv_suggest_removals(pool, choice->set, fixes);
        for (unsigned k = 0; k < choice->disks->len && k < FIXES_TOLD; k++)
            vv_fixes_add(fixes,
                g_strdup_printf("vvfs-admin disk grow %s", (const char *) g_ptr_array_index(choice->disks, k)),
                g_strdup("if it can be made larger"));
        vv_problems_add(problems, VV_SEVERITY_CRITICAL, "disk-full", g_ptr_array_index(choice->disks, 0),
            g_strdup_printf("disk%s %s %s full: no more space for %s, which may lie nowhere else",
                one ? "" : "s", disks, one ? "is" : "are", luns),
            fixes);
    }
}

/* ---- damaged blocks */

#define DAMAGES_TOLD 16u

void vv_look_at_damages(VvPool *pool, GPtrArray *problems)
{
    g_autoptr(GPtrArray) list = vv_damages_list(pool, DAMAGES_TOLD, NULL, NULL);
    uint64_t left_out, more = vv_damages_count(pool, &left_out);

    for (unsigned i = 0; i < list->len; i++) {
        const VvDamage *damage = g_ptr_array_index(list, i);

        vv_problems_add(problems, VV_SEVERITY_ERROR, "damage", damage->disk, vv_damage_text(damage), NULL);
    }
    more = more > list->len && list->len == DAMAGES_TOLD ? more - list->len + left_out : left_out;
    if (more > 0)
        vv_problems_add(problems, VV_SEVERITY_ERROR, "damage", NULL,
            g_strdup_printf("%" G_GUINT64_FORMAT " more damaged blocks", more), NULL);
}
