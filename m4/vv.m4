# SPDX-License-Identifier: GPL-2.0-or-later

# VV_CHECK_CFLAGS(VARIABLE, FLAG...): append to VARIABLE each flag that the compiler takes without a warning.
AC_DEFUN([VV_CHECK_CFLAGS], [
    vv_saved_CFLAGS="$CFLAGS"
    m4_foreach_w([vv_flag], [$2], [
        AS_VAR_PUSHDEF([vv_cache], [vv_cv_cflag_]vv_flag)
        AC_CACHE_CHECK([whether $CC takes ]vv_flag, [vv_cache], [
            CFLAGS="$vv_saved_CFLAGS -Werror vv_flag"
            AC_COMPILE_IFELSE([AC_LANG_PROGRAM([], [])], [AS_VAR_SET([vv_cache], [yes])], [AS_VAR_SET([vv_cache], [no])])
        ])
        AS_VAR_IF([vv_cache], [yes], [$1="$$1 vv_flag"])
        AS_VAR_POPDEF([vv_cache])
    ])
    CFLAGS="$vv_saved_CFLAGS"
])

# VV_REQUIRE(PREFIX, MODULE AND VERSION, DEBIAN PACKAGE): a library that must be there. Its headers become system
# headers, so that our warnings are not applied to them.
AC_DEFUN([VV_REQUIRE], [
    PKG_CHECK_MODULES([$1], [$2], [],
        [AC_MSG_ERROR([$2 not found: install the Debian package $3 (or run scripts/install-deps)])])
    $1[]_CFLAGS=`AS_ECHO(["$$1[]_CFLAGS"]) | sed 's,-I */,-isystem /,g'`
])
