/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See nbd_library.h. */
#include "nbd_library.h"

#include "error.h"
#include "util.h"

#include <dlfcn.h>
#include <pthread.h>

#define SONAME "libnbd.so.0"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

typedef struct {
    const char *name;
    size_t offset; /* of its pointer in VvNbdLibrary */
} Symbol;

static bool fill(VvNbdLibrary *library, void *handle)
{
#define SYMBOL(function) { "nbd_" #function, offsetof(VvNbdLibrary, function) },
    static const Symbol symbols[] = { VV_NBD_FUNCTIONS(SYMBOL) };
#undef SYMBOL
    VvNbdLibrary found = { NULL };

    for (size_t i = 0; i < G_N_ELEMENTS(symbols); i++) {
        void *symbol = dlsym(handle, symbols[i].name);

        if (!symbol)
            return false;
        *(void **) (void *) ((char *) &found + symbols[i].offset) = symbol;
    }
    *library = found;
    return true;
}

bool vv_nbd_library_load(VvNbdLibrary *library, const char *uri, GError **error)
{
    void *handle;
    VV_LOCKED(&lock);

    if (library->create)
        return true;
    handle = dlopen(SONAME, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (handle && fill(library, handle))
        return true;
    vv_set_error(error, VV_ERROR_UNSUPPORTED, uri, "`apt install libnbd0`", "%s needs libnbd: %s", uri, dlerror());
    if (handle)
        dlclose(handle);
    return false;
}
