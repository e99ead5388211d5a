/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Threads with a common queue. Not GThreadPool: ThreadSanitizer does not see GLib's locks. */
#include "crew.h"

#include "util.h"

#include <errno.h>

typedef struct {
    VvCrewFunc func;
    void *data;
} VvChore;

struct VvCrew {
    char name[16];
    unsigned threads_max;
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t changed;
    GQueue chores;   /* VvChore, owned */
    GArray *threads; /* pthread_t */
    unsigned idle;
    bool ending;
};

static void *crew_main(void *user)
{
    VvCrew *crew = user;

    pthread_setname_np(pthread_self(), crew->name);
    pthread_mutex_lock(&crew->lock);
    for (;;) {
        g_autofree VvChore *chore = g_queue_pop_head(&crew->chores);

        if (chore) {
            pthread_mutex_unlock(&crew->lock);
            chore->func(chore->data);
            pthread_mutex_lock(&crew->lock);
            continue;
        }
        if (crew->ending)
            break;
        crew->idle++;
        pthread_cond_wait(&crew->changed, &crew->lock);
        crew->idle--;
    }
    pthread_mutex_unlock(&crew->lock);
    return NULL;
}

VvCrew *vv_crew_new(const char *name, unsigned threads_max)
{
    VvCrew *crew = g_new0(VvCrew, 1);

    g_strlcpy(crew->name, name, sizeof(crew->name));
    crew->threads_max = threads_max;
    pthread_mutex_init(&crew->lock, NULL);
    pthread_cond_init(&crew->changed, NULL);
    g_queue_init(&crew->chores);
    crew->threads = g_array_new(FALSE, FALSE, sizeof(pthread_t));
    return crew;
}

void vv_crew_free(VvCrew *crew)
{
    if (!crew)
        return;
    pthread_mutex_lock(&crew->lock);
    crew->ending = true;
    pthread_cond_broadcast(&crew->changed);
    pthread_mutex_unlock(&crew->lock);
    for (unsigned i = 0; i < crew->threads->len; i++)
        pthread_join(g_array_index(crew->threads, pthread_t, i), NULL);
    g_array_unref(crew->threads);
    pthread_cond_destroy(&crew->changed);
    pthread_mutex_destroy(&crew->lock);
    g_free(crew);
}

/* crew->lock held. */
static void start_thread_locked(VvCrew *crew)
{
    pthread_t thread;
    int err = pthread_create(&thread, NULL, crew_main, crew);

    if (err == 0)
        g_array_append_val(crew->threads, thread);
    else if (crew->threads->len == 0)
        g_error("cannot start a thread: %s", g_strerror(err)); /* nothing could ever be answered */
}

void vv_crew_run(VvCrew *crew, VvCrewFunc func, void *data)
{
    VvChore *chore = g_new(VvChore, 1);
    VV_LOCKED(&crew->lock);

    *chore = (VvChore){ func, data };
    g_queue_push_tail(&crew->chores, chore);
    if (crew->idle < g_queue_get_length(&crew->chores) && crew->threads->len < crew->threads_max)
        start_thread_locked(crew);
    pthread_cond_signal(&crew->changed);
}
