/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "store_fault.h"

#include "util.h"

#include <errno.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

#define FAULTS_MAX 16u /* stores that a process has open: one, in tests some */
#define KIND_BITS 3u
#define ADMITTED_MAX 16u /* in a row at one address: it is no read that can be helped, as a write to the mapping */

/* One for each store; they stay, because a handler of another store's thread may be looking at them. */
struct VvFault {
    _Atomic uintptr_t base; /* 0: nobody's */
    _Atomic size_t bytes;
    bool taken; /* install_lock */
    uint64_t number; /* of this use of it */
    VvFaultAdmit admit;
    void *user;
    _Atomic uint64_t noted; /* offset << KIND_BITS | kind; 0: VV_FAULT_NONE */
    sem_t wake;
};

_Thread_local jmp_buf *vv_fault_trap;
_Thread_local bool vv_fault_unblocked;

static VvFault faults[FAULTS_MAX];
static struct sigaction before_segv, before_bus; /* set once */
static bool installed;
static pthread_mutex_t install_lock = PTHREAD_MUTEX_INITIALIZER;

/* ---- the handler */

static VvFault *fault_at(uintptr_t address)
{
    for (unsigned i = 0; i < FAULTS_MAX; i++) {
        uintptr_t base = atomic_load(&faults[i].base);

        if (base != 0 && address >= base && address - base < atomic_load(&faults[i].bytes))
            return &faults[i];
    }
    return NULL;
}

/* F3: whoever was there before, or death when the instruction is tried again. */
static void pass_on(int number, siginfo_t *info, void *context)
{
    const struct sigaction *before = number == SIGSEGV ? &before_segv : &before_bus;

    if ((before->sa_flags & SA_SIGINFO) != 0)
        before->sa_sigaction(number, info, context);
    else if (before->sa_handler != SIG_DFL && before->sa_handler != SIG_IGN)
        before->sa_handler(number);
    else if (signal(number, SIG_DFL) != SIG_ERR && info->si_code <= 0)
        raise(number);
}

static _Thread_local struct { uintptr_t address; uint64_t number; unsigned count; } last;

int vv_fault_errno(VvFaultKind kind)
{
    switch (kind) {
    case VV_FAULT_NONE:
        return 0;
    case VV_FAULT_UNREADABLE:
    case VV_FAULT_SUMS_UNREADABLE:
        return -EIO;
    case VV_FAULT_NO_MEMORY:
        return -ENOMEM;
    default:
        return -EUCLEAN;
    }
}

/* F1 */
static VvFaultKind ask(VvFault *fault, uintptr_t address)
{
    last.count = last.address == address && last.number == fault->number ? last.count + 1 : 0;
    last.address = address;
    last.number = fault->number;
    if (fault->admit == NULL || last.count >= ADMITTED_MAX)
        return VV_FAULT_DAMAGED;
    return fault->admit(fault->user, address - atomic_load(&fault->base));
}

static int trapped_by(VvFaultKind kind)
{
    int err = vv_fault_errno(kind);

    return err == -EIO ? VV_TRAPPED_BUS : err == -ENOMEM ? VV_TRAPPED_NO_MEMORY : VV_TRAPPED_CLOSED;
}

void vv_fault_unblock(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGSEGV);
    sigaddset(&set, SIGBUS);
    vv_fault_unblocked = pthread_sigmask(SIG_UNBLOCK, &set, NULL) == 0;
}

static void handler(int number, siginfo_t *info, void *context)
{
    uintptr_t address = (uintptr_t) info->si_addr;
    VvFault *fault = info->si_code > 0 ? fault_at(address) : NULL; /* not: somebody's kill(2) */
    int error = errno;
    VvFaultKind kind = VV_FAULT_UNREADABLE;
    jmp_buf *trap;

    if (fault != NULL && number == SIGSEGV)
        kind = ask(fault, address);
    else if (fault != NULL)
        vv_fault_note(fault, kind, address - atomic_load(&fault->base));
    errno = error;
    if (fault != NULL && kind == VV_FAULT_NONE)
        return;
    trap = vv_fault_trap;
    if (fault != NULL && trap != NULL) {
        vv_fault_unblock(); /* SA_NODEFER does so, save where a sanitizer calls us from a handler of its own */
        longjmp(*trap, trapped_by(kind)); /* F2 */
    }
    pass_on(number, info, context);
}

/* install_lock. */
static bool install(void)
{
    struct sigaction action = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_NODEFER };

    sigemptyset(&action.sa_mask);
    if (!installed)
        installed = sigaction(SIGSEGV, &action, &before_segv) == 0 && sigaction(SIGBUS, &action, &before_bus) == 0;
    return installed;
}

/* ---- for the store */

VvFault *vv_fault_new(const void *base, size_t bytes, VvFaultAdmit admit, void *user)
{
    static uint64_t count; /* install_lock */
    VvFault *fault = NULL;

    VV_LOCKED(&install_lock);
    for (unsigned i = 0; i < FAULTS_MAX && fault == NULL; i++)
        fault = faults[i].taken ? NULL : &faults[i];
    if (fault == NULL || !install())
        return NULL;
    fault->taken = true;
    fault->number = ++count;
    fault->admit = admit;
    fault->user = user;
    atomic_store(&fault->noted, 0);
    sem_init(&fault->wake, 0, 0);
    atomic_store(&fault->bytes, bytes);
    atomic_store(&fault->base, (uintptr_t) base);
    return fault;
}

void vv_fault_free(VvFault *fault)
{
    if (fault == NULL)
        return;
    VV_LOCKED(&install_lock);
    atomic_store(&fault->base, 0);
    sem_destroy(&fault->wake);
    fault->taken = false;
}

void vv_fault_note(VvFault *fault, VvFaultKind kind, uint64_t offset)
{
    uint64_t none = 0;

    if (atomic_compare_exchange_strong(&fault->noted, &none, offset << KIND_BITS | kind))
        sem_post(&fault->wake);
}

VvFaultKind vv_fault_get(VvFault *fault, uint64_t *ret_offset)
{
    uint64_t noted = atomic_load(&fault->noted);

    if (noted != 0)
        *ret_offset = noted >> KIND_BITS;
    return (VvFaultKind) (noted & ((1u << KIND_BITS) - 1));
}

void vv_fault_wait(VvFault *fault, unsigned ms)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += (long) (ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    while (sem_clockwait(&fault->wake, CLOCK_MONOTONIC, &until) != 0 && errno == EINTR)
        continue;
}

void vv_fault_wake(VvFault *fault) { sem_post(&fault->wake); }
